import type { Command } from "commander";

import { readControlOptions } from "../control/options-file.ts";
import { type ControlChannel, runControl } from "../control/run.ts";
import { heddleVersion } from "../heddle-version.ts";

/** After this, what keeps the process alive is a mistake, not work. */
const exitGraceMs = 1000;

export function registerControlCommand(program: Command): void {
  program
    .command("control", { hidden: true })
    .description("run the control plane of one mesh")
    .requiredOption("--options <file>", "JSON file of mode 0600")
    .action(async ({ options: file }: { readonly options: string }) => {
      const { promise: stopAsked, resolve } = Promise.withResolvers<void>();
      process.once("SIGTERM", resolve);
      process.once("SIGINT", resolve);
      // Whoever runs the workloads is gone, and with it the reason to be here.
      process.once("disconnect", resolve);
      try {
        await runControl({
          options: readControlOptions(file),
          version: heddleVersion(),
          stopAsked,
          channel: channelToParent(),
        });
      } finally {
        setTimeout(() => process.exit(), exitGraceMs).unref();
      }
    });
}

function channelToParent(): ControlChannel | undefined {
  if (process.send === undefined) return undefined;
  return {
    send: (message) => void process.send?.(message),
    onMessage: (listener) => void process.on("message", listener),
  };
}
