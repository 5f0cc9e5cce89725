/** Writes the fields of a message, but those that belong to one HTTP/1.1 connection. */
import type { ByteWriter } from "../../wire/byte-writer.ts";
import type { HpackEncoder } from "../../wire/hpack-encoder.ts";
import type { MessageHeaders } from "../http/message-headers.ts";
import { isOfConnection } from "./stream-sender.ts";

/** Fields of ours that the pseudo-fields, or the frames, say already. */
const ownLeftOut: ReadonlySet<string> = new Set([
  "connection",
  "host",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

export function writeFields(
  encoder: HpackEncoder,
  writer: ByteWriter,
  headers: MessageHeaders,
): void {
  const { head } = headers;
  if (head !== undefined) {
    const { count, dropped } = head;
    for (let field = 0; field < count; field++) {
      if (dropped[field] === 0 && !isOfConnection(head, field)) {
        encoder.fieldOf(writer, head, field);
      }
    }
  }
  for (let at = 0; at < headers.ownCount; at++) {
    const name = headers.ownName(at);
    if (!ownLeftOut.has(name)) encoder.field(writer, name, headers.ownValue(at));
  }
}
