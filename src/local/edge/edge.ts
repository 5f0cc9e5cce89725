/**
 * The edge of the mesh's inner network: connections that leave it are redirected here and go on
 * through sockets dialled on the host; DNS over TCP goes to the host's name server; what arrives on
 * the gateways' host ports goes to the gateway instances. Bytes are not looked at.
 */
import { connect, createServer, type Server, type Socket } from "node:net";

import { HeddleError, messageOf } from "../../base/error.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { edgeAddress } from "../mesh-addresses.ts";
import { encodeProxyHeader } from "../../wire/proxy-protocol.ts";
import { uplinkPort } from "../file/ports.ts";
import type { HostLink } from "./host-link.ts";
import { splice } from "./splice.ts";

export interface EdgeOptions {
  readonly link: HostLink;
  readonly hasIpv6: boolean;
  /** Where it hears DNS over TCP. */
  readonly dnsPort: number;
  /** Where the client meant to go before it was redirected. */
  readonly originalDestination: (socket: Socket) => SocketAddress | undefined;
  /** Where the gateway at `target` hears of what arrives for it, and from whom. */
  readonly relayPortOf: (target: SocketAddress) => number | undefined;
  /** A connection could not be passed on; told at most once per second and reason. */
  readonly onRefused: (reason: string) => void;
}

export interface Edge {
  /**
   * Lets `server`'s connections through to a gateway, telling it by PROXY header who the client is.
   * Replaces what it led to before.
   */
  relay(server: Server, target: () => SocketAddress | undefined): void;
  close(): void;
}

/** Connections that pass the edge at once; more are refused. */
const connectionsMax = 4096;

export async function openEdge(options: EdgeOptions): Promise<Edge> {
  const { link, hasIpv6, dnsPort } = options;
  const open = new Set<Socket>();
  const carry = (client: Socket, upstream: () => Promise<Socket>): void => {
    if (open.size >= connectionsMax) {
      options.onRefused(`more than ${connectionsMax} connections pass the edge of the mesh`);
      client.resetAndDestroy();
      return;
    }
    open.add(client);
    client.once("close", () => open.delete(client));
    client.on("error", () => client.destroy());
    client.pause();
    upstream().then(
      (socket) => {
        if (client.destroyed) socket.destroy();
        else splice(client, socket);
      },
      (thrown: unknown) => {
        options.onRefused(messageOf(thrown));
        client.resetAndDestroy();
      },
    );
  };
  const onUplink = (client: Socket): void =>
    carry(client, async () => {
      const target = options.originalDestination(client);
      // Its number elsewhere is a server's like any other: what was not redirected came for this one.
      const { localAddress, localPort } = client;
      const isForUplink = target?.address === localAddress && target?.port === localPort;
      if (target === undefined || isForUplink) {
        throw new HeddleError("local.uplink", "a connection to the uplink itself was refused");
      }
      return await link.dial(target);
    });
  const onDns = (client: Socket): void => carry(client, async () => await link.dial("dns"));
  const servers = [
    await listen({ address: "0.0.0.0", port: uplinkPort }, onUplink),
    ...(hasIpv6 ? [await listen({ address: "::", port: uplinkPort }, onUplink)] : []),
    await listen({ address: edgeAddress.ipv4, port: dnsPort }, onDns),
  ];
  return {
    relay(server, target) {
      server.removeAllListeners("connection");
      server.on("connection", (client: Socket) =>
        carry(client, async () => await dialGateway(client, target(), options)),
      );
    },
    close() {
      for (const server of servers) server.close();
      for (const client of open) client.destroy();
    },
  };
}

/** The gateway takes the header from nobody else: of the mesh, only the edge has its address. */
async function dialGateway(
  client: Socket,
  target: SocketAddress | undefined,
  { relayPortOf }: EdgeOptions,
): Promise<Socket> {
  const port = target === undefined ? undefined : relayPortOf(target);
  if (target === undefined || port === undefined)
    throw new HeddleError("local.gateway", "the gateway does not run");
  const { remoteAddress, remotePort } = client;
  if (remoteAddress === undefined || remotePort === undefined) {
    throw new HeddleError("local.gateway", "the client has gone");
  }
  const source = { address: remoteAddress, port: remotePort };
  const socket = await dialInside({ address: target.address, port });
  // The destination is the gateway's own port, which policies speak of, not the host's.
  socket.write(encodeProxyHeader({ source, destination: target }));
  return socket;
}

async function dialInside(target: SocketAddress): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: target.address, port: target.port, allowHalfOpen: true });
    socket.pause();
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });
}

async function listen(
  { address, port }: SocketAddress,
  onConnection: (socket: Socket) => void,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: address, port, ipv6Only: address.includes(":") }, resolve);
  });
  return server;
}
