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
  /** Descriptor of the line to the process that keeps the listening sockets. */
  readonly keptSockets?: string;
}

/** Does not return: what still keeps the process alive, once everything is closed and written, is not work. */
export async function runSidecarProcess(file: string, chosen: ChosenIo = {}): Promise<never> {
  const { promise: stopAsked, resolve } = Promise.withResolvers<void>();
  process.once("SIGTERM", resolve);
  process.once("SIGINT", resolve);
  const { io, concurrency, keptSockets } = chosen;
  const sidecar = {
    ...readSidecarOptions(file),
    ...(io === undefined ? {} : { io }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
  const keeper = keptSockets === undefined ? {} : { keeperLine: Number(keptSockets) };
  await runSidecar({ sidecar, version: heddleVersion(), stopAsked, ...keeper });
  process.exit(exitCodes.fine);
}
