import { join } from "node:path";
import { styleText } from "node:util";

import { Option, type Command } from "commander";

import { systemClock } from "../../base/clock.ts";
import { formatProblem, type Problem } from "../../base/problem.ts";
import type { ConfigAnswer } from "../../console/api.ts";
import { type RunningMesh, startMesh, stateDirOf, type StartOptions } from "../../local/up.ts";
import type { IoChoice } from "../../net/io-backend.ts";
import { openBundle } from "../bundle.ts";
import { calledAs } from "../called-as.ts";
import { openConsolePages } from "../console-pages.ts";
import { parseDurationMs } from "../duration.ts";
import { type EnvoyProgram, findEnvoy } from "../envoy-program.ts";
import { concurrencyOption } from "../concurrency-option.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { ioOption } from "../io-option.ts";
import { connectToMesh, meshWords, stateRoot } from "../mesh-api.ts";
import { toYaml } from "../output.ts";
import { upDetached } from "../up/detached.ts";

interface Options {
  readonly proxy: "heddle" | "envoy";
  readonly mode: StartOptions["mode"];
  readonly detach: boolean;
  readonly output: "text" | "json" | "yaml";
  readonly stateDir?: string;
  readonly logLevel: StartOptions["logLevel"];
  readonly logFormat: StartOptions["logFormat"];
  readonly certificateTtl?: number;
  readonly io?: IoChoice;
  readonly concurrency?: number;
}

export function registerUpCommand(program: Command): void {
  program
    .command("up")
    .argument("[dir]", "folder with heddle.yaml (or a Compose file) and Istio YAML", ".")
    .description("run a mesh on this machine; Ctrl-C ends it")
    .addOption(
      new Option("--proxy <kind>", "data plane").choices(["heddle", "envoy"]).default("heddle"),
    )
    .addOption(
      new Option("--mode <mode>", "network namespaces with capture, or explicit proxies")
        .choices(["auto", "namespaces", "explicit"])
        .default("auto"),
    )
    .option("--detach", "return when the mesh is ready; 'heddle down' ends it", false)
    .addOption(
      new Option("-o, --output <format>", "how to print each step")
        .choices(["text", "json", "yaml"])
        .default("text"),
    )
    .addOption(new Option("--state-dir <folder>", "state of this mesh").env("HEDDLE_STATE_DIR"))
    .addOption(
      new Option("--log-level <level>", "of control plane and sidecars")
        .choices(["debug", "info", "warn", "error"])
        .default("info"),
    )
    .addOption(new Option("--log-format <format>").choices(["text", "json"]).default("text"))
    .addOption(ioOption("who does the I/O of Heddle's proxies; auto unless told"))
    .addOption(
      concurrencyOption(
        "data workers of each of Heddle's proxies, 20 MB each; none unless told: then its main thread serves",
      ),
    )
    .addOption(
      new Option("--certificate-ttl <duration>", "how long workloads' certificates are valid")
        .argParser((text) => parseDurationMs(text, "--certificate-ttl"))
        .hideHelp(),
    )
    .action(async (directory: string, options: Options) => {
      if (options.detach) await upDetached(directory, options.stateDir);
      else await upHere(directory, options);
    });
}

async function upHere(directory: string, options: Options): Promise<void> {
  const print = printer(options);
  stateDirOf(directory, stateRoot()); // refuses what cannot run before anything is made
  const { main, problem } = await openBundle(join(stateRoot(), ".bundle"));
  if (problem !== undefined) print.step(problem);
  const envoy =
    options.proxy === "envoy"
      ? await findEnvoy(process.env["HEDDLE_ENVOY"], process.env["PATH"] ?? "")
      : undefined;
  if (envoy?.warning !== undefined) print.step(envoy.warning);
  const mesh = await startMesh(startOptions(directory, options, print, { main, envoy }));
  // Only now: a mesh that is refused must not go on building for seconds.
  void openConsolePages().then((outcome) => {
    if (outcome !== undefined) print.step(outcome);
  });
  const stopped = stopOnSignals(mesh, print);
  const notReady = await Promise.race([mesh.ready.catch(asFailure), mesh.ended]);
  if (typeof notReady !== "string") {
    print.ready(mesh, notReady, await problemsOf(mesh));
    if (notReady.length > 0) mesh.allReady.then(() => print.allReady(mesh), ignored);
    await mesh.ended;
  }
  const why = await mesh.ended;
  if (stopped.isAsked) {
    await stopped.done;
    return;
  }
  await mesh.stop();
  throw new CommandFailure(exitCodes.findings, why);
}

/** Of the configuration that the mesh begins with; what heddle.yaml says wrong has been told before. */
async function problemsOf({ stateDir }: RunningMesh): Promise<readonly Problem[]> {
  try {
    const { problems } = await connectToMesh({ stateDir }).get<ConfigAnswer>("/api/config");
    return problems.filter(({ code }) => !code.startsWith("heddle-file."));
  } catch {
    return []; // A control plane that does not answer is told by whoever is not ready for it.
  }
}

// It ended before: that is told where it ends.
function ignored(): void {}

// What made it fail is better news than that it ended.
async function asFailure(thrown: unknown): Promise<never> {
  throw thrown;
}

interface Programs {
  /** The bundle's main file. */
  readonly main: string;
  readonly envoy: EnvoyProgram | undefined;
}

// oxlint-disable-next-line max-params -- one call site; what a start is made of
function startOptions(
  directory: string,
  options: Options,
  print: Printer,
  { main, envoy }: Programs,
): StartOptions {
  const { proxy, mode, stateDir, logLevel, logFormat, certificateTtl, io, concurrency } = options;
  return {
    directory,
    mode,
    dataPlane: proxy,
    ...(envoy === undefined ? {} : { envoyBinary: envoy.path }),
    ...(stateDir === undefined ? {} : { stateDir }),
    stateRoot: stateRoot(),
    uid: process.getuid?.() ?? 0,
    heddle: [process.execPath, ...process.execArgv, main],
    environment: inheritedEnvironment(),
    serving: {
      ...(io === undefined ? {} : { io }),
      ...(concurrency === undefined ? {} : { concurrency }),
    },
    logLevel,
    logFormat,
    ...(certificateTtl === undefined ? {} : { certificateTtlMs: certificateTtl }),
    clock: systemClock,
    onStep: (text) => print.step(text),
    onProblems: (problems) => {
      for (const problem of problems) console.error(formatProblem(problem));
    },
  };
}

/** All but what belongs to this process alone. */
function inheritedEnvironment(): Readonly<Record<string, string>> {
  const pairs = Object.entries(process.env).filter(
    (pair): pair is [string, string] =>
      pair[1] !== undefined && !/^(NODE_CHANNEL_|NODE_UNIQUE_ID|HEDDLE_)/.test(pair[0]),
  );
  return Object.fromEntries(pairs);
}

interface Stopping {
  isAsked: boolean;
  done: Promise<void>;
}

function stopOnSignals(mesh: RunningMesh, print: Printer): Stopping {
  const stopping: Stopping = { isAsked: false, done: Promise.resolve() };
  const onSignal = (): void => {
    // A second Ctrl-C: no more patience. The namespaces, or the watchdog, end what is left.
    if (stopping.isAsked) process.exit(130);
    stopping.isAsked = true;
    print.step("stopping");
    stopping.done = mesh.stop();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  return stopping;
}

interface Printer {
  step(text: string): void;
  ready(mesh: RunningMesh, notReady: readonly string[], problems: readonly Problem[]): void;
  /** What was not ready has become so. */
  allReady(mesh: RunningMesh): void;
}

function printer(options: Options): Printer {
  const startMs = performance.now() - process.uptime() * 1000;
  const elapsedMs = (): number => Math.round(performance.now() - startMs);
  if (options.output !== "text") {
    const line = (value: object): void =>
      console.log(options.output === "json" ? JSON.stringify(value) : `---\n${toYaml(value)}`);
    const ready: Printer["ready"] = (mesh, notReady, problems) => {
      const { consoleUrl, gatewayUrls, mode, stateDir, pid } = mesh;
      line({
        ready: notReady.length === 0,
        notReady,
        problems: problems.map(formatProblem),
        mode,
        consoleUrl,
        gatewayUrls,
        stateDir,
        pid,
        elapsedMs: elapsedMs(),
      });
    };
    return {
      step: (step) => line({ step, elapsedMs: elapsedMs() }),
      ready,
      allReady: (mesh) => ready(mesh, [], []),
    };
  }
  const seconds = (): string =>
    styleText("dim", `${(elapsedMs() / 1000).toFixed(2).padStart(6)} s`);
  return {
    step: (text) => console.log(`${seconds()}  ${text}`),
    ready: (mesh, notReady, problems) => {
      console.log(
        `${seconds()}  ${notReady.length === 0 ? "everything is ready" : "running, but not all is ready:"}`,
      );
      for (const line of notReady) console.log(`          ${styleText("yellow", line)}`);
      printProblems(problems);
      printNextSteps(mesh);
    },
    allReady: () => console.log(`${seconds()}  everything is ready now`),
  };
}

/** On the terminal; `heddle status` shows all. */
const printedProblemsMax = 5;

function printProblems(problems: readonly Problem[]): void {
  for (const problem of problems.slice(0, printedProblemsMax)) {
    console.log(`          ${styleText("yellow", formatProblem(problem))}`);
  }
  const more = problems.length - printedProblemsMax;
  if (more > 0) console.log(`          and ${more} more problems; 'heddle status' shows all`);
}

function printNextSteps({ consoleUrl, gatewayUrls, mode, stateDir }: RunningMesh): void {
  const gateway = gatewayUrls.find((url) => url.startsWith("http:"));
  console.log(`\nconsole  ${styleText("bold", consoleUrl)}`);
  for (const url of gatewayUrls) console.log(`gateway  ${styleText("bold", url)}`);
  if (mode === "explicit") {
    console.log(
      "explicit mode: local processes can go around their sidecars; 'heddle status' says more",
    );
  }
  const heddle = calledAs(process.env["HEDDLE_CALLED_AS"], process.env["PATH"] ?? "");
  const which = meshWords(stateDir);
  const tries = [
    gateway === undefined ? `${heddle} get${which}` : `curl -sS ${gateway}`,
    `${heddle} status${which}`,
    `${heddle} proxy-status${which}`,
  ];
  console.log(`\ntry:\n${tries.map((line) => `  ${line}`).join("\n")}\n`);
}
