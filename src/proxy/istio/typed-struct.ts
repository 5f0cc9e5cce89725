/** Messages that come as a `TypedStruct`, because their sender has no schema for them: Istio's own. */
import { TypedStruct as UdpaTypedStruct } from "../../wire/gen/ts/udpa/type/v1/typed_struct.ts";
import { refuse } from "../engine/refusal.ts";

interface AnyMessage {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

export interface TypedFields {
  /** Without the host of its URL. */
  readonly type: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Undefined where the message is of another type. Both of its schemas have the same fields. */
export function readTypedStruct(any: AnyMessage | undefined): TypedFields | undefined {
  const outer = any?.typeUrl.split("/").at(-1) ?? "";
  if (any === undefined || !/^(udpa\.type\.v1|xds\.type\.v3)\.TypedStruct$/.test(outer)) {
    return undefined;
  }
  const { typeUrl, value } = UdpaTypedStruct.decode(any.value);
  return { type: typeUrl.split("/").at(-1) ?? "", fields: value ?? {} };
}

/** Refuses every field but these. */
export function checkFields(
  fields: Readonly<Record<string, unknown>>,
  known: readonly string[],
  path: string,
): void {
  for (const key of Object.keys(fields)) {
    if (!known.includes(key)) refuse(`${path}.${key}`, "is not supported");
  }
}
