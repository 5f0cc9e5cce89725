/** What requests are known by (`request_id_extension`): UUIDs, as they are where nothing is said. */
import { UuidRequestIdConfig } from "../../wire/gen/ts/envoy/extensions/request_id/uuid/v3/uuid.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";

export interface RequestIdSettings {
  /** Ids tell why their requests are traced. */
  readonly packsReason: boolean;
  /** They decide whether; else all are traced. */
  readonly drawsById: boolean;
}

const uuidUrl = "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";

export function compileRequestIds(
  config: { readonly typeUrl: string; readonly value: Uint8Array } | undefined,
  path: string,
): RequestIdSettings {
  if (config === undefined) return { packsReason: true, drawsById: true };
  if (config.typeUrl !== uuidUrl) refuse(path, `'${config.typeUrl}' is not supported`);
  const known = { packTraceReason: true, useRequestIdForTraceSampling: true } as const;
  const ids = honoured(UuidRequestIdConfig.decode(config.value), known, path);
  return {
    packsReason: ids.packTraceReason ?? true,
    drawsById: ids.useRequestIdForTraceSampling ?? true,
  };
}
