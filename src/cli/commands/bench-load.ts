/** One load of `heddle bench`, in a process of its own: in a workload's network, where that has one. */
import { readFileSync } from "node:fs";

import type { Command } from "commander";

import { systemClock } from "../../base/clock.ts";
import { createPortableDialler } from "../../net/portable-dialler.ts";
import { createLog } from "../../telemetry/log.ts";
import { type LoadPlan, runOpenLoop } from "../bench/open-loop.ts";

export function registerBenchLoadCommand(program: Command): void {
  program
    .command("bench-load", { hidden: true })
    .description("send the load that standard input describes; lines of JSON tell how it goes")
    .action(async () => {
      const plan: LoadPlan = JSON.parse(readFileSync(0, "utf8")); // from `heddle bench`
      const clock = systemClock;
      const log = createLog({
        level: "error",
        format: "text",
        clock,
        sink: (line) => void process.stderr.write(line),
      });
      const result = await runOpenLoop(plan, {
        dialler: createPortableDialler({ clock, log }),
        clock,
        onProgress: (done, ofAll) => console.log(JSON.stringify({ done, ofAll })),
      });
      console.log(JSON.stringify({ result }));
    });
}
