/** The messages of gRPC's health service, `grpc.health.v1`. Sans I/O. */
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";

/** `HealthCheckResponse.ServingStatus`. */
export const servingStatus = { unknown: 0, serving: 1, notServing: 2, serviceUnknown: 3 } as const;

/** `HealthCheckRequest`; of an empty service the server speaks for all. */
export function encodeHealthRequest(service: string): Uint8Array {
  const writer = new BinaryWriter();
  if (service !== "") writer.uint32(0x0a).string(service);
  return writer.finish();
}

/** The status of a `HealthCheckResponse`; undefined for bytes that are none. */
export function decodeHealthResponse(message: Uint8Array): number | undefined {
  const reader = new BinaryReader(message);
  let status: number = servingStatus.unknown;
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) status = reader.int32();
      else if (tag >>> 3 === 0) return undefined;
      else reader.skip(tag & 7, tag >>> 3);
    }
  } catch {
    return undefined;
  }
  return reader.pos === reader.len ? status : undefined;
}
