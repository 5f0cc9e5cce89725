/** What a listener asks the kernel of its sockets: `transparent`, `freebind`, `socket_options`. */
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { SocketOption } from "../../net/listen.ts";
import {
  type SocketOption as Config,
  SocketOption_SocketState as State,
} from "../../wire/gen/ts/envoy/config/core/v3/socket_option.ts";
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { refuse } from "../engine/refusal.ts";

const solIp = 0;
const solIpv6 = 41;
const ipFreebind = 15;
const ipv6Freebind = 78;
const ipTransparent = 19;
const ipv6Transparent = 75;

const noOptions: readonly SocketOption[] = [];

/** For each of the listener's addresses, in their order. */
export function compileSocketOptions(
  listener: Listener,
  addresses: readonly SocketAddress[],
): readonly (readonly SocketOption[])[] {
  const own = compileAll(listener.socketOptions, "socket_options");
  return addresses.map(({ address }, i) => {
    const at = `additional_addresses[${i - 1}].socket_options.socket_options`;
    // What an additional address says stands instead of what the listener does.
    const override = i === 0 ? undefined : listener.additionalAddresses[i - 1]?.socketOptions;
    const options = override === undefined ? own : compileAll(override.socketOptions, at);
    // Those of IP are for addresses of IP alone.
    const flags = isPipe(address) ? [] : flagOptions(listener, address.includes(":"));
    const all = [...flags, ...options];
    return all.length === 0 ? noOptions : all;
  });
}

function flagOptions({ transparent, freebind }: Listener, isV6: boolean): readonly SocketOption[] {
  const flag = (v4: number, v6: number, when: SocketOption["when"]): SocketOption =>
    isV6
      ? { level: solIpv6, name: v6, value: 1, when }
      : { level: solIp, name: v4, value: 1, when };
  return [
    ...(freebind === true ? [flag(ipFreebind, ipv6Freebind, "unbound")] : []),
    // Some kernels forget it when the socket is bound.
    ...(transparent === true
      ? (["unbound", "bound"] as const).map((when) => flag(ipTransparent, ipv6Transparent, when))
      : []),
  ];
}

const moments: Readonly<Record<number, SocketOption["when"]>> = {
  [State.STATE_PREBIND]: "unbound",
  [State.STATE_BOUND]: "bound",
  [State.STATE_LISTENING]: "listening",
};

function compileAll(options: readonly Config[], path: string): readonly SocketOption[] {
  return options.flatMap((option, i) => compileOption(option, `${path}[${i}]`));
}

function compileOption(option: Config, path: string): readonly SocketOption[] {
  const { type, intValue, bufValue } = option;
  const when = moments[option.state] ?? refuse(`${path}.state`, "is not known");
  if (option.ipVersion !== 0) refuse(`${path}.ip_version`, "is not supported");
  const value =
    bufValue ?? (intValue === undefined ? undefined : Number(BigInt.asIntN(32, intValue)));
  if (value === undefined) return refuse(path, "has neither int_value nor buf_value");
  // For datagrams alone: these sockets are streams.
  if (type?.datagram !== undefined && type.stream === undefined) return [];
  return [{ level: Number(option.level), name: Number(option.name), value, when }];
}
