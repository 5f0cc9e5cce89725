/**
 * A failure of an operation that cannot go on: thrown, and caught once per boundary (command,
 * stream, process). `code` is stable and listed in docs/errors.md; `message` says what was tried on
 * what, in lower case, without a full stop.
 */
export class HeddleError extends Error {
  override readonly name = "HeddleError";
  readonly code: string;

  constructor(code: string, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The sentence of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
