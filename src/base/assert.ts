/** Thrown by `assert()`: our mistake, not the operator's and not the network's. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** States what must hold here. Caught only at boundaries (connection, stream, command). */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
