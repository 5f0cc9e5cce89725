import type { Command } from "commander";

import { readSidecarOptions } from "../sidecar/options-file.ts";
import { runSidecar } from "../sidecar/run.ts";
import { heddleVersion } from "./version.ts";

/** After this, what keeps the process alive is a mistake, not work. */
const exitGraceMs = 1000;

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
      setTimeout(() => process.exit(), exitGraceMs).unref();
    });
}
