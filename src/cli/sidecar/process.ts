/** The process of one sidecar, from its options to its end. */
import type { IoChoice } from "../../net/io-backend.ts";
import { exitCodes } from "../exit.ts";
import { heddleVersion } from "../heddle-version.ts";
import { readSidecarOptions } from "./options-file.ts";
import { runSidecar } from "./run.ts";

/** What the command line says, instead of what the file does. */
export interface ChosenIo {
  readonly io?: IoChoice;
  readonly concurrency?: number;
}

/** Does not return: what still keeps the process alive, once everything is closed and written, is not work. */
export async function runSidecarProcess(file: string, chosen: ChosenIo = {}): Promise<never> {
  const { promise: stopAsked, resolve } = Promise.withResolvers<void>();
  process.once("SIGTERM", resolve);
  process.once("SIGINT", resolve);
  const { io, concurrency } = chosen;
  const sidecar = {
    ...readSidecarOptions(file),
    ...(io === undefined ? {} : { io }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
  await runSidecar({ sidecar, version: heddleVersion(), stopAsked });
  process.exit(exitCodes.fine);
}
