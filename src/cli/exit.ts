/** What a command's exit status says; listed in docs/cli.md. */
export const exitCodes = {
  /** Done, and nothing to report. */
  fine: 0,
  /** Done, and it found something: problems, refused or silent proxies, a resource that isn't there. */
  findings: 1,
  /** Wrong usage: unknown option, missing file, contradictory flags. */
  usage: 2,
  /** What the command talks to cannot be reached. */
  unreachable: 3,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Ends a command with one sentence on standard error; caught in `main.ts`. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
