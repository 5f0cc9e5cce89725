/**
 * What the fields of an HTTP/2 answer mean (RFC 9113 section 8.3.2): `:status` becomes the status that
 * HTTP/1.1 would have had, and what the next hop would read otherwise is malformed.
 */
import { type HeadError, type Http1Head, slotWidth } from "./http1-head.ts";
import { known } from "./http1-tables.ts";
import { decimalOf, endFields, readConnectionFields } from "./http2-framing.ts";

export interface AnswerPlace {
  /** No body follows. */
  readonly isEnd: boolean;
  /** It answers HEAD. */
  readonly isToHead: boolean;
}

/** Settles the head of an answer. The error when it is malformed. */
export function frameHttp2Response(head: Http1Head, place: AnswerPlace): HeadError | undefined {
  const error =
    head.error ?? readStatus(head) ?? readConnectionFields(head) ?? readLength(head, place);
  if (error !== undefined) return error;
  endFields(head);
  head.isHttp2 = true;
  head.minorVersion = 1;
  head.isStartLineRead = true;
  head.isComplete = true;
  return undefined;
}

/** One field of pseudo-name, first: three digits. Nothing switches protocols here. */
function readStatus(head: Http1Head): HeadError | undefined {
  const { bytes, slots, count, dropped } = head;
  if (count === 0 || !head.isName(0, ":status")) return "syntax";
  for (let field = 1; field < count; field++) {
    if (bytes[slots[field * slotWidth] ?? 0] === 0x3a) return "invalid-character";
  }
  const start = slots[2] ?? 0;
  if ((slots[3] ?? 0) - start !== 3) return "syntax";
  let status = 0;
  for (let at = start; at < start + 3; at++) {
    const digit = (bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return "syntax";
    status = status * 10 + digit;
  }
  if (status < 100 || status === 101) return "syntax";
  head.status = status;
  dropped[0] = 1;
  return undefined;
}

function readLength(head: Http1Head, { isEnd, isToHead }: AnswerPlace): HeadError | undefined {
  const { status } = head;
  if (status < 200 && isEnd) return "syntax";
  const isBodiless = status < 200 || status === 204 || status === 304 || isToHead;
  head.bodyKind = isEnd || isBodiless ? "none" : "until-close";
  const field = head.findId(known.contentLength);
  if (field < 0) {
    head.lacksLength = isEnd && !isBodiless;
    return undefined;
  }
  if (head.findId(known.contentLength, field + 1) >= 0) return "invalid-character";
  const length = decimalOf(head, field);
  if (length < 0) return "invalid-character";
  if (status < 200 || status === 204) head.dropId(known.contentLength);
  if (isBodiless) return undefined;
  if (isEnd && length > 0) return "syntax";
  head.bodyLength = length;
  if (!isEnd) head.bodyKind = "length";
  return undefined;
}
