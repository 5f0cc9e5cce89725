import type { Command } from "commander";

import type { IoChoice } from "../../net/io-backend.ts";
import { concurrencyOption } from "../concurrency-option.ts";
import { exitCodes } from "../exit.ts";
import { ioOption } from "../io-option.ts";
import { readSidecarOptions } from "../sidecar/options-file.ts";
import { runSidecar } from "../sidecar/run.ts";
import { heddleVersion } from "../heddle-version.ts";

interface SidecarCommandOptions {
  readonly options: string;
  readonly io?: IoChoice;
  readonly concurrency?: number;
}

export function registerSidecarCommand(program: Command): void {
  program
    .command("sidecar", { hidden: true })
    .description("run the proxy and agent of one workload instance")
    .requiredOption("--options <file>", "JSON file of mode 0600")
    .addOption(ioOption("who does the I/O, instead of what the file says"))
    .addOption(concurrencyOption("data workers, instead of what the file says"))
    .action(async ({ options: file, io, concurrency }: SidecarCommandOptions) => {
      const { promise: stopAsked, resolve } = Promise.withResolvers<void>();
      process.once("SIGTERM", resolve);
      process.once("SIGINT", resolve);
      const sidecar = {
        ...readSidecarOptions(file),
        ...(io === undefined ? {} : { io }),
        ...(concurrency === undefined ? {} : { concurrency }),
      };
      await runSidecar({ sidecar, version: heddleVersion(), stopAsked });
      // Everything has been closed and written: what still keeps the process alive is not work.
      process.exit(exitCodes.fine);
    });
}
