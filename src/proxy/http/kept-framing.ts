/**
 * What says where the body of a message ends on a connection of HTTP/1.1 stays with it, whatever filters
 * and routes have taken away: the rest of the connection would be read as part of it, or it as the next message.
 */
import type { BodyKind } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type { MessageHeaders } from "./message-headers.ts";

/** Whether the body leaves in chunks: as Envoy's does also where its length was taken away. */
export function keepFramed(headers: MessageHeaders, bodyKind: BodyKind): boolean {
  if (bodyKind === "none" || bodyKind === "until-close") return false;
  if (bodyKind === "length" && has(headers, known.contentLength, "content-length")) return false;
  if (!has(headers, known.transferEncoding, "transfer-encoding")) {
    headers.add("transfer-encoding", "chunked");
  }
  return true;
}

/** For readers of HTTP/1.0, who know no chunks: the length that it came with. */
export function keepLength(headers: MessageHeaders): void {
  const { head } = headers;
  if (head?.bodyKind !== "length" || has(headers, known.contentLength, "content-length")) return;
  headers.add("content-length", String(head.bodyLength));
}

/** Mostly as it came, where it is found by its number. */
function has(headers: MessageHeaders, id: number, name: string): boolean {
  return (headers.head !== undefined && headers.head.findId(id) >= 0) || headers.has(name);
}
