import type { Command } from "commander";

import { exitCodes } from "../exit.ts";
import { readSidecarOptions } from "../sidecar/options-file.ts";
import { runSidecar } from "../sidecar/run.ts";
import { heddleVersion } from "../heddle-version.ts";

export function registerSidecarCommand(program: Command): void {
  program
    .command("sidecar", { hidden: true })
    .description("run the proxy and agent of one workload instance")
    .requiredOption("--options <file>", "JSON file of mode 0600")
    .action(async ({ options: file }: { readonly options: string }) => {
      const { promise: stopAsked, resolve } = Promise.withResolvers<void>();
      process.once("SIGTERM", resolve);
      process.once("SIGINT", resolve);
      await runSidecar({ sidecar: readSidecarOptions(file), version: heddleVersion(), stopAsked });
      // Everything has been closed and written: what still keeps the process alive is not work.
      process.exit(exitCodes.fine);
    });
}
