/** Connections that were taken for HTTP without a look at their first bytes, and are not. */
import type { Http1Head } from "../../wire/http1-head.ts";
import { inspectHttp } from "../../wire/http-inspect.ts";
import type { ConnectionHome } from "../connection-home.ts";

/** Of a connection's first request, refused: a mistake in it is none in what its port was declared to be. */
export function tellIfNotHttp(home: ConnectionHome, { bytes, length }: Http1Head): void {
  const words = bytes.subarray(0, length);
  if (inspectHttp(words).kind === "other") home.onNotHttp?.(words);
}
