/** How much may wait in a connection inside the proxy, as a bootstrap says (`buffer_size_kb`). */
import type { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import { InternalListener } from "../../wire/gen/ts/envoy/extensions/bootstrap/internal_listener/v3/internal_listener.ts";
import { refuse } from "../engine/refusal.ts";
import { extensionType, structOf } from "./extension-type.ts";

export const internalListenerType =
  "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";

/** As Envoy bounds it. */
const kibMax = 8192;

/** Bytes in each direction; undefined where it says nothing. Throws a refusal for a size that Envoy refuses. */
export function internalBufferBytesOf({ bootstrapExtensions }: Bootstrap): number | undefined {
  let bytes: number | undefined;
  for (const [i, { typedConfig }] of bootstrapExtensions.entries()) {
    if (extensionType(typedConfig) !== internalListenerType) continue;
    const place = `bootstrap_extensions[${i}].typed_config`;
    const kib = kibOf(typedConfig, place);
    if (kib === undefined) continue;
    if (typeof kib !== "number" || !Number.isInteger(kib) || kib < 1 || kib > kibMax) {
      refuse(`${place}.buffer_size_kb`, `is ${JSON.stringify(kib)}, not from 1 to ${kibMax}`);
    }
    bytes = kib * 1024;
  }
  return bytes;
}

function kibOf(any: Parameters<typeof structOf>[0], place: string): unknown {
  const struct = structOf(any);
  if (struct === undefined) {
    return InternalListener.decode(any?.value ?? new Uint8Array(0)).bufferSizeKb;
  }
  const { buffer_size_kb: snake, bufferSizeKb: camel, ...others } = struct.value ?? {};
  for (const name of Object.keys(others)) refuse(`${place}.value.${name}`, "is not known");
  return snake ?? camel;
}
