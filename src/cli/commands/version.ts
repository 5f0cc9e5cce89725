import type { Command } from "commander";

import { heddleVersion } from "../heddle-version.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";

export function registerVersionCommand(program: Command): void {
  program
    .command("version")
    .description("print the version of Heddle and of the Node that runs it")
    .addOption(outputOption())
    .action((options: { output: OutputFormat }) => {
      const version = heddleVersion();
      print(
        options.output,
        { heddle: version, node: process.versions.node },
        () => `heddle ${version} (Node ${process.versions.node})`,
      );
    });
}
