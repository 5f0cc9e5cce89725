import { freePorts } from "../../src/local/place/free-ports.ts";

/** Beside explicit mode's, so that a mesh of another test does not want the same. */
const range = { first: 10_000, last: 14_900 };

/** A port of 127.0.0.1 that nobody listens on now; for programs that must be told one. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1, range);
  return port;
}
