import { randomInt } from "node:crypto";
import net from "node:net";

/**
 * Below the range from which Linux gives ports to outgoing connections (32768 and up), and below the
 * mesh's own: between choosing a port and listening on it, a connection of another test, or a
 * listener on port 0, would otherwise take it now and then.
 */
const portFirst = 10_000;
const portLast = 14_900;

/** Given out by this process, so that none comes twice. */
const given = new Set<number>();

/** A port of 127.0.0.1 that nobody listens on now; for programs that must be told one. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(portFirst, portLast);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
