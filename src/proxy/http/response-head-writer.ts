/** Writes the head of a response towards the client: an upstream's, or one of our own. */
import type { OtherNames, Spell } from "../../wire/header-case.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { reasonPhrase } from "../../wire/http1-reasons.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";
import type { MessageHeaders } from "./message-headers.ts";

export interface ResponseConnection {
  /** The client speaks HTTP/1.0. */
  isHttp10: boolean;
  /** The connection closes after this response. */
  closes: boolean;
  /** Protocol switched to, 101 only. */
  isUpgrade: boolean;
}

const statusLines = new Map<number, string>();

function statusLine(status: number): string {
  let line = statusLines.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`;
    if (statusLines.size < 1000) statusLines.set(status, line);
  }
  return line;
}

/** `head` gives status and reason; undefined for our own answer with `status`. */
export function writeResponseHead(
  writer: Http1Writer,
  status: number,
  headers: MessageHeaders,
  connection: Readonly<ResponseConnection>,
  otherNames: OtherNames = "lower",
): void {
  const { head } = headers;
  if (connection.isHttp10) writer.text(`HTTP/1.0 ${status} ${reasonPhrase(status)}\r\n`);
  else if (head === undefined || head.isHttp2 || head.status !== status) {
    writer.text(statusLine(status));
  } else writeStatusLine(writer, head);
  const spell = headers.spelling(otherNames);
  if (spell !== undefined) return finishSpelled(writer, headers, connection, spell);
  headers.writeTo(writer);
  if (connection.isUpgrade) writer.text("connection: upgrade\r\n");
  else if (connection.closes) writer.text("connection: close\r\n");
  else if (connection.isHttp10) writer.text("connection: keep-alive\r\n");
  writer.lineEnd();
}

function finishSpelled(
  writer: Http1Writer,
  headers: MessageHeaders,
  { isUpgrade, closes, isHttp10 }: Readonly<ResponseConnection>,
  spell: Spell,
): void {
  headers.writeSpelled(writer, spell);
  const persistence = isUpgrade
    ? "upgrade"
    : closes
      ? "close"
      : isHttp10
        ? "keep-alive"
        : undefined;
  if (persistence !== undefined) writer.field(spell("connection"), persistence);
  writer.lineEnd();
}

/** As it came, but always HTTP/1.1: the version is the connection's, not the message's. */
function writeStatusLine(writer: Http1Writer, head: Http1Head): void {
  writer.text("HTTP/1.1 ");
  writer.bytes(head.bytes, 9, 12);
  writer.text(" ");
  writer.bytes(head.bytes, head.reasonStart, head.reasonEnd);
  writer.lineEnd();
}

let dateSecond = 0;
let dateText = "";

/** The `Date` of this second. */
export function httpDate(nowMs: number): string {
  const second = Math.floor(nowMs / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
