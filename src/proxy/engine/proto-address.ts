/** Addresses as messages that others are told them by. */
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { Address } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";

export function protoAddress({ address, port }: SocketAddress): Address {
  if (isPipe(address)) return { pipe: { path: address, mode: 0 } };
  return {
    socketAddress: {
      protocol: 0,
      address,
      portValue: port,
      resolverName: "",
      ipv4Compat: false,
      networkNamespaceFilepath: "",
    },
  };
}

/** As the admin interface shows it. */
export function addressJson({ address, port }: SocketAddress): object {
  if (isPipe(address)) return { pipe: { path: address } };
  return { socket_address: { address, port_value: port } };
}
