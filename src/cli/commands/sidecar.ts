import type { Command } from "commander";

import { concurrencyOption } from "../concurrency-option.ts";
import { ioOption } from "../io-option.ts";
import { type ChosenIo, runSidecarProcess } from "../sidecar/process.ts";

interface SidecarCommandOptions extends ChosenIo {
  readonly options: string;
}

export function registerSidecarCommand(program: Command): void {
  program
    .command("sidecar", { hidden: true })
    .description("run the proxy and agent of one workload instance")
    .requiredOption("--options <file>", "JSON file of mode 0600")
    .addOption(ioOption("who does the I/O, instead of what the file says"))
    .addOption(concurrencyOption("data workers, instead of what the file says"))
    .action(({ options, ...chosen }: SidecarCommandOptions) => runSidecarProcess(options, chosen));
}
