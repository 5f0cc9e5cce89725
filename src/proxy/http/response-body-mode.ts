/** How a response's body leaves, given how it comes and what the client understands. */
import type { Http1Head } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type { MessageHeaders } from "./message-headers.ts";

/** `close`: up to the end of the connection, for HTTP/1.0 clients. */
export type BodyMode = "none" | "raw" | "chunked" | "close";

/** Also edits the framing fields accordingly. */
export function chooseBodyMode(
  head: Http1Head,
  headers: MessageHeaders,
  isHttp10: boolean,
): BodyMode {
  switch (head.bodyKind) {
    case "none":
      head.dropId(known.transferEncoding);
      if (head.lacksLength) headers.add("content-length", "0");
      return "none";
    case "length":
      return "raw";
    case "chunked":
      if (!isHttp10) return "chunked";
      head.dropId(known.transferEncoding);
      return "close";
    case "until-close":
      if (isHttp10) return "close";
      headers.add("transfer-encoding", "chunked");
      return "chunked";
  }
}
