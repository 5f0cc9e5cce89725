/**
 * Counts gRPC messages as they pass, without keeping them. A message counts from its first byte on;
 * bytes that are no gRPC framing are read as if they were, as Envoy's grpc_stats filter does.
 */
import { grpcPrefixBytes } from "./grpc.ts";

export class GrpcMessageCounter {
  count = 0;
  /** Bytes of the current prefix that have passed. */
  #prefixBytes = 0;
  #length = 0;
  /** Bytes of the current message that have not passed yet. */
  #remaining = 0;

  reset(): void {
    this.count = 0;
    this.#prefixBytes = 0;
    this.#remaining = 0;
  }

  read(chunk: Uint8Array, from: number, to: number): void {
    let at = from;
    while (at < to) {
      if (this.#remaining > 0) {
        const taken = Math.min(this.#remaining, to - at);
        this.#remaining -= taken;
        at += taken;
        continue;
      }
      const byte = chunk[at++] ?? 0;
      if (this.#prefixBytes === 0) {
        this.count++; // the first byte is a flag
        this.#length = 0;
      } else this.#length = this.#length * 256 + byte;
      if (++this.#prefixBytes < grpcPrefixBytes) continue;
      this.#prefixBytes = 0;
      this.#remaining = this.#length;
    }
  }
}
