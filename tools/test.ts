/**
 * Runs the project's tests and fails when fewer ran than test/count.json says.
 *
 *   npm test                      check, then every phase of tools/test-phases.ts
 *   npm test -- e2e browser       only these phases
 *   npm run test:full             the phase `full`, which takes an hour and is in no other run
 *   npm test -- e2e -- capture    only the files of a phase whose name contains a word
 *
 * The check and what the machine lacks come first; then files of all phases run side by side, and beside
 * them the programs are built that some files need (docs/decisions/0061). What fails is told at once and
 * again at the end. A run that takes too long is ended with what has been found until then.
 */
import { readFileSync } from "node:fs";

import { messageOf } from "../src/base/error.ts";
import { assertProjectNode } from "./project-node.ts";
import { envoyBinary } from "./test-machine.ts";
import { jobsOf, type Phase, phases, placesOfMachine, type TestJob } from "./test-phases.ts";
import { runInPlaces, type Work } from "./test-pool.ts";
import { runScript, runTests } from "./test-process.ts";
import { type Ended, linesOfSummary, totalOf } from "./test-summary.ts";
import { clockOf, secondsOf, watchProcessor } from "./test-times.ts";
import { complaintsOf } from "./test-totals.ts";

/** Of a run of everything; machines that run it for others end it after 90 minutes, and then nothing is told. */
const wholeMaxMs = 80 * 60_000;

assertProjectNode();
const [asked, words] = split(process.argv.slice(2));
const isWhole = asked.length + words.length === 0;
const wanted = phases.filter(({ name, isRare = false }) =>
  asked.length === 0 ? !isRare : asked.includes(name),
);
if (wanted.length < asked.length) {
  console.error(`heddle: phases are ${phases.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

/** Why the run fails although no test has failed. */
const complaints: string[] = [];
const ended: Ended[] = [];
const processor = watchProcessor();
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => end(`ended by ${signal}`));
}
const timer = setTimeout(() => end(`ended after ${wholeMaxMs / 60_000} minutes`), wholeMaxMs);
if (!isWhole) clearTimeout(timer);

if (!(await isReady())) process.exit(1);
const jobs = jobsOf(wanted, words);
for (const { name, files } of wanted.filter(isEmpty)) {
  complaints.push(`phase ${name} has no test file (${files})`);
}
const left = await runInPlaces([...wanted.flatMap(buildOf), ...jobs.map(workOf)], {
  places: placesOfMachine,
  stop: stop.signal,
});
clearTimeout(timer);
complaints.push(...left.map(({ name }) => `did not run: ${name}`));
if (isWhole) complaints.push(...complaintsOf(totalOf(ended), testsMin()));
console.log(linesOfSummary({ ended, complaints, processor: processor() }).join("\n"));
process.exitCode = complaints.length === 0 && ended.every(({ isGood }) => isGood) ? 0 : 1;

function split(args: readonly string[]): readonly [readonly string[], readonly string[]] {
  const at = args.indexOf("--");
  return at < 0 ? [args, []] : [args.slice(0, at), args.slice(at + 1)];
}

/** Nothing begins any more, and what runs is ended. */
function end(why: string): void {
  say(why);
  complaints.push(why);
  stop.abort(why);
}

async function isReady(): Promise<boolean> {
  const needsMachine = wanted.some(({ name }) => name !== "unit");
  const outcomes = await Promise.all([
    isWhole ? runScript(["tools/check.ts", "--without-tests"], { stop: stop.signal }) : true,
    needsMachine ? runScript(["tools/prepare.ts", "machine"], { stop: stop.signal }) : true,
  ]);
  return outcomes.every(Boolean);
}

/** Words leave files out on purpose. */
function isEmpty(phase: Phase): boolean {
  return words.length === 0 && !jobs.some((job) => job.phase === phase);
}

/** What builds the programs of a phase; one after the other, because each build uses all cores. */
function buildOf({ needs }: Phase): readonly Work[] {
  if (needs === undefined) return [];
  const name = buildName(needs);
  const run = (): Promise<boolean> =>
    told(name, () => runScript(["tools/prepare.ts", needs], { stop: stop.signal, givesWay: true }));
  return [{ name, kind: "build", kindMax: 1, run }];
}

function buildName(needs: string): string {
  return `programs of ${needs}`;
}

function workOf(job: TestJob): Work {
  const { phase, name, isBeside, isDemanding } = job;
  const needs = phase.needs === undefined ? undefined : buildName(phase.needs);
  const run = (): Promise<boolean> => told(name, () => runJob(job));
  const [kind, kindMax] = isDemanding ? ["demanding", 1] : [phase.name, phase.concurrency];
  return { name, kind, kindMax, isBeside, needs, run };
}

/** What cannot be started fails the run, and others go on. */
async function told(name: string, run: () => Promise<boolean>): Promise<boolean> {
  try {
    return await run();
  } catch (thrown) {
    complaints.push(`${name} could not be run: ${messageOf(thrown)}`);
    return false;
  }
}

async function runJob(job: TestJob): Promise<boolean> {
  say(`begins ${job.name}`);
  const outcome = await runTests(job, {
    isAlone: jobs.length === 1,
    stop: stop.signal,
    environment: { HEDDLE_ENVOY: envoyBinary, ...process.env },
    onFailure: ({ title, place }) => say(`✖ ${title} (${place})`),
  });
  ended.push({ job, ...outcome });
  const { isGood, record, output, cut, ms } = outcome;
  if (output !== "") console.log(output);
  const tests = record.end === undefined ? cut : `${record.end.counts.tests} tests`;
  say(`${isGood ? "ok" : "FAIL"} ${job.name}: ${tests}, ${secondsOf(ms)}`);
  if (record.end === undefined) complaints.push(`${job.name} has no summary: ${cut}`);
  return isGood;
}

function say(text: string): void {
  console.log(`${clockOf(performance.now())} ${text}`);
}

/** Some tests run once more as root, with the rights that only root has. */
function testsMin(): number {
  return JSON.parse(readFileSync("test/count.json", "utf8"))[
    process.getuid?.() === 0 ? "root" : "others"
  ];
}
