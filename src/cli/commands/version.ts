import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Command } from "commander";

import { type OutputFormat, outputOption, print } from "../output.ts";
import { projectRoot } from "../project-root.ts";

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

export function heddleVersion(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(join(projectRoot(), "package.json"), "utf8"),
  );
  return manifest.version;
}
