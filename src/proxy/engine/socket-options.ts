/** What configuration asks the kernel of sockets (`socket_options`), of listeners and of clusters. */
import type { SocketOption } from "../../net/dialler.ts";
import {
  type SocketOption as Config,
  SocketOption_SocketIpVersion as IpVersion,
  SocketOption_SocketState as State,
} from "../../wire/gen/ts/envoy/config/core/v3/socket_option.ts";
import { refuse } from "./refusal.ts";

const moments: Readonly<Record<number, SocketOption["when"]>> = {
  [State.STATE_PREBIND]: "unbound",
  [State.STATE_BOUND]: "bound",
  [State.STATE_LISTENING]: "listening",
};

/** `undefined`: of any family. */
const families: Readonly<Record<number, { readonly family: SocketOption["family"] }>> = {
  [IpVersion.SOCKET_IP_VERSION_UNSPECIFIED]: { family: undefined },
  [IpVersion.SOCKET_IP_VERSION_IPV4]: { family: 4 },
  [IpVersion.SOCKET_IP_VERSION_IPV6]: { family: 6 },
};

/** Of a value; the longest that the kernel knows of streams have fewer. */
const bytesMax = 128;

/** Those of streams. */
export function compileStreamOptions(
  options: readonly Config[],
  path: string,
): readonly SocketOption[] {
  return options.flatMap((option, i) => compileOption(option, `${path}[${i}]`));
}

function compileOption(option: Config, path: string): readonly SocketOption[] {
  const { type, intValue, bufValue } = option;
  const when = moments[option.state] ?? refuse(`${path}.state`, "is not known");
  const { family } = families[option.ipVersion] ?? refuse(`${path}.ip_version`, "is not known");
  const value = bufValue ?? (intValue === undefined ? undefined : int32(intValue));
  if (value === undefined) return refuse(path, "has neither int_value nor buf_value");
  if (typeof value !== "number" && value.length > bytesMax) {
    refuse(`${path}.buf_value`, `is longer than ${bytesMax} bytes`);
  }
  // For datagrams alone: these sockets are streams.
  if (type?.datagram !== undefined && type.stream === undefined) return [];
  return [{ level: int32(option.level), name: int32(option.name), value, when, family }];
}

/** As Envoy, which makes an `int` of it; another number would be refused by FFI when a socket is there. */
function int32(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}
