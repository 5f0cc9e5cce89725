/**
 * Searches one codec for inputs that break its promises; prints one line of JSON.
 *
 *   node test/fuzz/main.ts --codec http1 --seconds 60 --inputs 1000000
 *   node test/fuzz/main.ts --codec http1 --keep          the inputs that lead somewhere go to corpus/
 *   node test/fuzz/main.ts --codec http1 --bug NAME      with a bug of seeded-bugs.ts put in
 */
import { constants, setPriority } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { codecFiles, loadTarget, toCodec } from "./codecs.ts";
import { formatInput, readCorpus, writeCorpus } from "./corpus.ts";
import { fuzz } from "./fuzzer.ts";
import { instrument } from "./instrument.ts";
import { seededBugs } from "./seeded-bugs.ts";

const { values } = parseArgs({
  options: {
    codec: { type: "string" },
    seconds: { type: "string", default: "10" },
    "seconds-max": { type: "string", default: "86400" },
    inputs: { type: "string", default: "0" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    bug: { type: "string" },
    keep: { type: "boolean", default: false },
    "from-nothing": { type: "boolean", default: false },
  },
});
// Whatever else runs on the machine goes first.
setPriority(constants.priority.PRIORITY_LOW);
const codec = toCodec(values.codec);
const bug = seededBugs[codec].find(({ name }) => name === values.bug);
if (values.bug !== undefined && bug === undefined) throw new Error(`no bug '${values.bug}'`);
const instrumented = instrument(codecFiles[codec], bug?.edit);
const file = join(import.meta.dirname, "corpus", `${codec}.txt`);
const outcome = fuzz({
  target: await loadTarget(codec),
  instrumented,
  corpus: values["from-nothing"] ? [] : readCorpus(file),
  seed: Number(values.seed),
  secondsMin: Number(values.seconds),
  secondsMax: Number(values["seconds-max"]),
  inputsMin: Number(values.inputs),
});
if (values.keep && outcome.failure === undefined) writeCorpus(file, outcome.corpus);
console.log(
  JSON.stringify({
    codec,
    seed: Number(values.seed),
    inputs: outcome.inputs,
    seconds: Number(outcome.seconds.toFixed(1)),
    corpus: outcome.corpus.length,
    branches: outcome.branches,
    taken: outcome.taken,
    missed: outcome.missed,
    failure: outcome.failure && {
      why: outcome.failure.why,
      input: formatInput(outcome.failure.input),
    },
  }),
);
