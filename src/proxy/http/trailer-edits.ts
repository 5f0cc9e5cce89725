/** Trailers on their way past the filters. Only messages that have trailers have any to change, as in Envoy. */
import { Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import { dropForbiddenTrailers, isFieldValue } from "../../wire/http1-writer.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";
import { MessageHeaders } from "./message-headers.ts";

/** Those of the request, as its endpoint gets them; `trailers` stay as they are, for another attempt. */
export function passRequestTrailers(
  stream: FilterStream,
  filters: readonly HttpFilter[],
  trailers: Http1Head,
): Http1Head {
  if (!filters.some(({ onRequestTrailers }) => onRequestTrailers !== undefined)) return trailers;
  return edited(trailers, (headers) => {
    for (const filter of filters) filter.onRequestTrailers?.(stream, headers);
  });
}

/** Those of the answer, which pass the filters from the last to the first. */
export function passResponseTrailers(
  stream: FilterStream,
  filters: readonly HttpFilter[],
  trailers: Http1Head,
): Http1Head {
  if (!filters.some(({ onResponseTrailers }) => onResponseTrailers !== undefined)) return trailers;
  return edited(trailers, (headers) => {
    for (const filter of filters.toReversed()) filter.onResponseTrailers?.(stream, headers);
  });
}

export function copyOf(head: Http1Head): Http1Head {
  const copy = new Http1Head();
  copy.copyFrom(head);
  return copy;
}

function edited(trailers: Http1Head, edit: (headers: MessageHeaders) => void): Http1Head {
  const headers = new MessageHeaders();
  headers.reset(copyOf(trailers));
  edit(headers);
  let text = "";
  // As in heads: what would break a line is not sent. Texts of filters come from tokens and services, too.
  headers.forEach((name, value) => {
    if (isFieldValue(value)) text += `${name}: ${value}\r\n`;
  });
  const bytes = Buffer.from(`${text}\r\n`, "latin1");
  const made = new Http1Head();
  made.reset("trailers");
  feedHead(made, bytes, 0, { headBytesMax: bytes.length, fieldsMax: bytes.length });
  if (!made.isComplete) throw new Error(`trailers cannot be written: ${made.error}`);
  dropForbiddenTrailers(made);
  return made;
}
