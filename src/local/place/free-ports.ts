/** Ports of 127.0.0.1 for processes that must be told one before they listen. */
import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";

import { HeddleError } from "../../base/error.ts";

/** `last` itself is not given. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/**
 * Of explicit mode: below the range the kernel gives to outgoing connections (32768 and up by default),
 * or one of those would take a port between our choosing it and its sidecar's listening on it.
 */
const explicitRange: PortRange = { first: 20_000, last: 32_000 };
const blockTriesMax = 1000;
/** Ports of a block; its first one is never given. */
const blockSize = 50;

/** Given out by this process, so that none comes twice. */
const given = new Set<number>();

/**
 * Consecutive ports that are one process's to give: it listens on the one before them for as long as it
 * lives. Two meshes that start at once would else both find a port free that neither listens on yet.
 */
interface Block {
  next: number;
  readonly last: number;
  /** Held, or the port would be another's when it is collected. */
  readonly guard: Server;
}

/** By the range they are of. */
const blocks = new Map<string, Block>();

/** `freePorts()` will not give this one: somebody is going to listen on it. */
export function reservePort(port: number): void {
  given.add(port);
}

/** Ports nobody listens on now; `range` must lie below that of outgoing connections. */
export async function freePorts(
  count: number,
  range: PortRange = explicitRange,
): Promise<readonly number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = await nextPort(count, range);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

async function nextPort(count: number, range: PortRange): Promise<number> {
  const key = `${range.first}-${range.last}`;
  let block = blocks.get(key);
  if (block === undefined || block.next === block.last) {
    block = await takeBlock(count, range);
    blocks.set(key, block);
  }
  return block.next++;
}

async function takeBlock(count: number, { first, last }: PortRange): Promise<Block> {
  for (let tries = 0; tries < blockTriesMax; tries++) {
    const start = first + randomInt(Math.floor((last - first) / blockSize)) * blockSize;
    if (given.has(start)) continue;
    const guard = await guarded(start);
    if (guard !== undefined) return { next: start + 1, last: start + blockSize, guard };
  }
  throw new HeddleError(
    "local.ports",
    `could not find ${count} free local ports between ${first} and ${last}`,
  );
}

/** Undefined when the port is in use. */
function guarded(port: number): Promise<Server | undefined> {
  const guard = createServer((socket) => socket.destroy());
  return new Promise((resolve) => {
    guard.once("error", () => resolve(undefined));
    guard.listen(port, "127.0.0.1", () => {
      given.add(port);
      guard.unref();
      resolve(guard);
    });
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
