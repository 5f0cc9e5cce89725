/** `x-request-id`: a random UUID (version 4), as Envoy makes them, from the pool of trace ids. */
import { randomBytesFromPool } from "./trace-context.ts";

export function newRequestId(): string {
  const bytes = randomBytesFromPool(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const text = bytes.toString("hex");
  return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`;
}
