/** Why nothing can be listened on, in one sentence, whichever backend tried. */
import { HeddleError } from "../base/error.ts";
import { formatSocketAddress } from "../base/socket-address.ts";
import type { ListenOptions } from "./listen.ts";

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "another process uses the port",
  EACCES: "this user may not open the port",
};

export interface ListenFault {
  /** Of the operating system: `EADDRINUSE`. */
  readonly code: string | undefined;
  readonly message: string;
  readonly cause?: unknown;
}

/** `cannot listen on 127.0.0.1:80: this user may not open the port (EACCES)`. */
export function listenFailure({ on }: Pick<ListenOptions, "on">, fault: ListenFault): HeddleError {
  const where = on.kind === "address" ? formatSocketAddress(on) : `descriptor ${on.fd}`;
  const { code, cause } = fault;
  const why = (code === undefined ? undefined : reasons[code]) ?? fault.message;
  const errno = code === undefined || why.includes(code) ? "" : ` (${code})`;
  return new HeddleError("listen-failed", `cannot listen on ${where}: ${why}${errno}`, { cause });
}
