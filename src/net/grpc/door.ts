import type { Server, Socket } from "node:net";

/**
 * Bounds how many connections one address may hold, before anything is read of them: whoever reaches
 * the port could take them all otherwise. Unix sockets have no address and are not counted.
 */
export interface DoorOptions {
  /** 0 is any number. */
  readonly perAddressMax: number;
  readonly onRefused: (peer: string) => void;
}

/** Stands before what a server of Node does with its connections. */
export function guardDoor(server: Server, { perAddressMax, onRefused }: DoorOptions): void {
  const counts = new Map<string, number>();
  const accepting = server.listeners("connection");
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    // Read while it is open: a socket remembers it then, and who failed can be named afterwards.
    const address = socket.remoteAddress;
    if (address !== undefined && perAddressMax > 0) {
      const count = counts.get(address) ?? 0;
      if (count >= perAddressMax) {
        onRefused(peerOf(socket));
        socket.on("error", () => {}).destroy();
        return;
      }
      counts.set(address, count + 1);
      socket.once("close", () => {
        const left = (counts.get(address) ?? 1) - 1;
        if (left === 0) counts.delete(address);
        else counts.set(address, left);
      });
    }
    for (const accept of accepting) Reflect.apply(accept, server, [socket]);
  });
}

interface Peer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

export function peerOf({ remoteAddress, remotePort }: Peer): string {
  return remoteAddress === undefined ? "unix" : `${remoteAddress}:${remotePort}`;
}

/** Of a TLS socket that is closed already, too: the socket below it still knows whose it was. */
export function peerOfHandshake(socket: Peer): string {
  if (socket.remoteAddress !== undefined) return peerOf(socket);
  const below: unknown = Reflect.get(socket, "_parent");
  if (typeof below !== "object" || below === null) return "gone";
  const remoteAddress: unknown = Reflect.get(below, "remoteAddress");
  const remotePort: unknown = Reflect.get(below, "remotePort");
  if (typeof remoteAddress !== "string" || typeof remotePort !== "number") return "gone";
  return peerOf({ remoteAddress, remotePort });
}

/** The name a client asked for in its ClientHello, as far as that was read. */
export function serverNameOf(socket: Socket): string | undefined {
  const name: unknown = Reflect.get(socket, "servername");
  return typeof name === "string" && name !== "" ? name : undefined;
}
