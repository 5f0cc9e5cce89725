/** How `grpc-message` is written. */

/** Percent-encoding of the gRPC specification: what is not visible ASCII, and `%`; Envoy writes `~` so, too. */
export function encodeGrpcMessage(text: string): string {
  return text.replaceAll(/[^\x20-\x24\x26-\x7d]/g, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
      .join(""),
  );
}
