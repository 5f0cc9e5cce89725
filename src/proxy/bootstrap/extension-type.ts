/** What a bootstrap's extension is, where it stands as its message or in a TypedStruct. */
import { TypedStruct } from "../../wire/gen/ts/udpa/type/v1/typed_struct.ts";

type Extension = { readonly typeUrl: string; readonly value: Uint8Array } | undefined;

/** What a TypedStruct stands for; undefined for others. */
export function structOf(any: Extension): TypedStruct | undefined {
  const type = any?.typeUrl.split("/").at(-1) ?? "";
  const isStruct = type.endsWith(".type.v1.TypedStruct") || type.endsWith(".type.v3.TypedStruct");
  return isStruct ? TypedStruct.decode(any?.value ?? new Uint8Array(0)) : undefined;
}

/** The type inside a TypedStruct, or its own. */
export function extensionType(any: Extension): string {
  const url = structOf(any)?.typeUrl ?? any?.typeUrl ?? "";
  return url.split("/").at(-1) ?? "";
}
