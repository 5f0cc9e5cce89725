/**
 * Prepares for tests, in a process of its own, so that others need not wait for it:
 *
 *   node tools/prepare.ts machine       Debian packages, Envoy, the console's pages
 *   node tools/prepare.ts conformance   programs that these tests run, built after the machine
 *   node tools/prepare.ts collector
 */
import { constants, setPriority } from "node:os";

import { buildPrograms, prepareMachine } from "./test-machine.ts";

const [asked] = process.argv.slice(2);
if (asked === "machine") {
  await prepareMachine();
} else if (asked === "conformance" || asked === "collector") {
  // Tests that run meanwhile go first.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  buildPrograms(asked);
} else {
  console.error("heddle: machine, conformance or collector can be prepared");
  process.exitCode = 2;
}
