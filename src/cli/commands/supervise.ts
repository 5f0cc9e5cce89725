import { readFileSync } from "node:fs";

import type { Command } from "commander";

import { supervise } from "../../local/supervise.ts";
import type { SupervisorOptions } from "../../local/supervisor-options.ts";

/** Started by `heddle up` inside the mesh's namespaces; not for people. */
export function registerSuperviseCommand(program: Command): void {
  program
    .command("supervise", { hidden: true })
    .requiredOption("--options <file>", "what to run, written by 'heddle up'")
    .action(async ({ options }: { readonly options: string }) => {
      // Written by the same program a moment ago, in a directory of mode 0700.
      const supervisor: SupervisorOptions = JSON.parse(readFileSync(options, "utf8"));
      await supervise(supervisor);
      await new Promise(() => {}); // until the channel to the host closes
    });
}
