/** Unix sockets as configuration names them. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Pipe } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import { refuse } from "./refusal.ts";

/** What the kernel's structure holds, without the NUL behind the name of a file. */
const nameBytesMax = 107;
const modeMax = 0o777;

/** Throws a refusal. A path that is not absolute would depend on where the process was started. */
export function pipeAddress({ path: name, mode }: Pipe, path: string): SocketAddress {
  const place = `${path}.pipe.path`;
  if (!/^(\/.|@.)/s.test(name)) {
    refuse(place, "must be an absolute path, or an abstract name behind an @");
  }
  if (name.includes("\0")) refuse(place, "must not hold a NUL");
  if (new TextEncoder().encode(name).length > nameBytesMax) {
    refuse(place, `has more than ${nameBytesMax} bytes`);
  }
  if (mode > modeMax) refuse(`${path}.pipe.mode`, "must be at most 511 (octal 777)");
  if (mode !== 0 && name.startsWith("@")) {
    refuse(`${path}.pipe.mode`, "is not supported: an abstract name has no permissions");
  }
  return { address: name, port: 0 };
}
