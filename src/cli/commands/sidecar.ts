import { type Command, Option } from "commander";

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
    .addOption(new Option("--kept-sockets <fd>", "the line to who keeps its listening sockets"))
    .action(({ options, ...chosen }: SidecarCommandOptions) => runSidecarProcess(options, chosen));
}
