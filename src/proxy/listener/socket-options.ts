/** What a listener asks the kernel of its sockets: `transparent`, `freebind`, `socket_options`. */
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { SocketOption } from "../../net/listen.ts";
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { compileStreamOptions } from "../engine/socket-options.ts";

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
  const own = compileStreamOptions(listener.socketOptions, "socket_options");
  return addresses.map(({ address }, i) => {
    const at = `additional_addresses[${i - 1}].socket_options.socket_options`;
    // What an additional address says stands instead of what the listener does.
    const override = i === 0 ? undefined : listener.additionalAddresses[i - 1]?.socketOptions;
    const options = override === undefined ? own : compileStreamOptions(override.socketOptions, at);
    const isV6 = address.includes(":");
    // Those of IP are for addresses of IP alone.
    const isIp = !isPipe(address);
    const fitting = options.filter(
      ({ family }) => family === undefined || (isIp && (family === 6) === isV6),
    );
    const all = [...(isIp ? flagOptions(listener, isV6) : []), ...fitting];
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
