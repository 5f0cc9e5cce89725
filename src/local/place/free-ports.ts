/** Ports of 127.0.0.1 for processes that must be told one before they listen. */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

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
const triesMax = 2000;

/** Given out by this process, so that none comes twice. */
const given = new Set<number>();

/** `freePorts()` will not give this one: somebody is going to listen on it. */
export function reservePort(port: number): void {
  given.add(port);
}

/** Ports nobody listens on now; `range` must lie below that of outgoing connections. */
export async function freePorts(
  count: number,
  { first, last }: PortRange = explicitRange,
): Promise<readonly number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries++) {
    if (tries === triesMax) {
      throw new HeddleError(
        "local.ports",
        `could not find ${count} free local ports between ${first} and ${last}`,
      );
    }
    const port = randomInt(first, last);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
