/** `heddle proxy --config FILE`: the data plane alone, from an Envoy bootstrap file. */
import { type Command, Option } from "commander";
import { serveAdmin } from "../../agent/admin.ts";
import { FileSecrets } from "../../agent/io/file-secrets.ts";
import { openLogFiles } from "../../agent/log-files.ts";
import { systemClock } from "../../base/clock.ts";
import { formatSocketAddress, isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { IoChoice } from "../../net/io-backend.ts";
import type { BootstrapConfig } from "../../proxy/bootstrap.ts";
import { type DrainPlan, endingPlan } from "../../proxy/drain.ts";
import { type Proxy, type ProxyOptions, startProxy } from "../../proxy/proxy.ts";
import { createLog, type Log, parseLogLevel } from "../../telemetry/log.ts";
import { createSharedMetricRegistry } from "../../telemetry/metric-registry.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { noPeers } from "../../telemetry/standard-metrics.ts";
import { openBootstrapSources, readBootstrapFile } from "../bootstrap-file.ts";
import { joinSocketKeeper, type KeeperLine } from "../../net/kept-sockets.ts";
import type { HttpListener } from "../../net/http-listener.ts";
import { ProxyKeeper } from "../proxy-keeper.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { openOverload } from "../overload.ts";
import { concurrencyOption } from "../concurrency-option.ts";
import { expireIdleSeries } from "../idle-series.ts";
import { ioOption } from "../io-option.ts";
import { heddleVersion } from "../heddle-version.ts";
import { workerEntry } from "../worker-entry.ts";

export interface RunProxyOptions {
  readonly config: string;
  readonly logLevel: string;
  readonly logFormat: string;
  /** `portable` unless told. */
  readonly io?: IoChoice;
  /** Threads that serve; with 0, as by default, the process's own thread does. */
  readonly concurrency?: number;
  /** Descriptor of the line to the process that keeps the listening sockets. */
  readonly keptSockets?: string;
  /** Seconds; five unless told. */
  readonly drainTimeS?: string;
  readonly drainStrategy?: string;
  /** Bytes; what the cgroup says unless told. */
  readonly memoryLimit?: string;
}

export interface RunningProxy {
  /** Answers what is in flight, then closes everything. */
  stop(): Promise<void>;
  /** Tells that nobody keeps its sockets any more: they should be closed, or no other keeper can open them. */
  onKeeperLost(listener: () => void): void;
}

export function registerProxyCommand(program: Command): void {
  program
    .command("proxy")
    .description("run the data plane alone, from an Envoy bootstrap file")
    .requiredOption("-c, --config <file>", "bootstrap file, YAML or JSON")
    .option("--log-level <level>", "error, warn, info or debug", "info")
    .option("--log-format <format>", "text or json", "text")
    .addOption(ioOption("who does the I/O; auto takes epoll where it works").default("auto"))
    .option("--memory-limit <bytes>", "shed load near this, instead of the limit of the cgroup")
    .option("--drain-time-s <seconds>", "what is in flight has so long to end after SIGTERM", "5")
    .addOption(
      new Option("--drain-strategy <strategy>", "whether all answers end their connections at once")
        .choices(["immediate", "gradual"])
        .default("immediate"),
    )
    .addOption(
      concurrencyOption(
        "data workers, threads that serve connections (epoll only); 0 serves on the main thread",
      ).default(0),
    )
    .option(
      "--supervised",
      "run below a process that keeps the listening sockets: after a crash, and on SIGHUP, another proxy takes over and no connection is refused (epoll only)",
    )
    .addOption(new Option("--kept-sockets <fd>", "the line to that process").hideHelp())
    .action(async (options: RunProxyOptions & { readonly supervised?: boolean }) => {
      if (options.supervised === true) return await superviseProxy(options);
      // Before it serves there is nothing to drain, and its configuration may never come.
      let stop = (): void => process.exit(exitCodes.fine);
      process.once("SIGTERM", () => stop());
      process.once("SIGINT", () => stop());
      const running = await runProxy(options);
      let isStopping = false;
      stop = () => {
        if (isStopping) return;
        isStopping = true;
        void running.stop().then(() => process.exit(exitCodes.fine));
      };
      running.onKeeperLost(() => stop());
    });
}

/** Ends with the proxy; its parent's arguments are its own. */
async function superviseProxy(options: RunProxyOptions): Promise<void> {
  const args = process.argv.slice(1).filter((arg) => arg !== "--supervised");
  const keeper = new ProxyKeeper({ log: openLog(options), args });
  process.on("SIGTERM", () => keeper.end("SIGTERM"));
  process.on("SIGINT", () => keeper.end("SIGINT"));
  process.on("SIGHUP", () => keeper.replace());
  process.exit(await keeper.ended);
}

/** Throws what is wrong with the options. */
function openLog({ logLevel, logFormat }: RunProxyOptions): Log {
  const level = parseLogLevel(logLevel);
  if (level === undefined) {
    throw new CommandFailure(exitCodes.usage, `--log-level ${logLevel} is not known`);
  }
  if (logFormat !== "text" && logFormat !== "json") {
    throw new CommandFailure(exitCodes.usage, `--log-format ${logFormat} is not known`);
  }
  return createLog({
    level,
    format: logFormat,
    clock: systemClock,
    sink: (line) => void process.stderr.write(line.endsWith("\n") ? line : `${line}\n`),
  });
}

type Sources = ReturnType<typeof openBootstrapSources>;

/** The same, with secrets that lie in files. */
function withFiles(sources: Sources, log: Log, metrics: MetricRegistry): Sources {
  const { secrets: others } = sources;
  const own = { clock: systemClock, log: log.area("secrets"), metrics };
  const secrets = new FileSecrets({ ...own, others });
  const close = (): void => {
    sources.close();
    secrets.close();
  };
  return { ...sources, secrets, close };
}

/** Resolves when every listener of the file serves; throws a sentence about what cannot. */
export async function runProxy(options: RunProxyOptions): Promise<RunningProxy> {
  const log = openLog(options);
  const plan = drainPlanOf(options);
  const clock = systemClock;
  const { keptSockets } = options;
  const keeper = joinKeeper(options, log);
  const metrics = createSharedMetricRegistry();
  const overload = openOverload(options.memoryLimit);
  const reading = readBootstrapFile(options.config, overload.bounds);
  const bootstrap = reading.config;
  if (bootstrap === undefined) throw refusal(reading.problems);
  const sources = withFiles(openBootstrapSources(bootstrap, { clock, log, metrics }), log, metrics);
  const logFiles = openLogFiles(clock, metrics);
  const proxy = startProxy({
    feed: sources.feed,
    secrets: sources.secrets,
    clock,
    log,
    metrics,
    random: Math.random,
    peers: noPeers,
    openLog: (path) => logFiles.open(path),
    reopenLogs: () => logFiles.reopen(),
    // Only what the epoll backend opens can be kept.
    io: keptSockets === undefined ? (options.io ?? "portable") : "epoll",
    workers: {
      count: options.concurrency ?? 0,
      entry: workerEntry(),
      metrics,
      ...(bootstrap.watch === undefined ? {} : { watch: bootstrap.watch }),
    },
    ...nodeOf(bootstrap),
    bootstrap: bootstrap.bootstrap,
    overload: { ...overload, plan: bootstrap.overload ?? overload.plan },
    version: heddleVersion(),
  });
  await sources.staticsApplied;
  const problems = reading.locate(proxy.refusedFields());
  if (problems.length > 0) {
    await proxy.close();
    sources.close();
    await logFiles.close();
    throw refusal(problems);
  }
  // Not before: its timer would keep a process that ends with a refusal.
  const idleSeries = expireIdleSeries(clock, metrics);
  sources.start();
  const admin = openAdmin(bootstrap.admin, proxy, log.area("admin"), {
    waits: keptSockets !== undefined,
  });
  if (keptSockets === undefined) await admin.opened;
  await proxy.ready;
  keeper?.tellReady();
  for (const { name, address } of proxy.listeners()) {
    log.info("listening", { listener: name, address: formatSocketAddress(address) });
  }
  return {
    onKeeperLost: (listener) => keeper?.onLost(listener),
    async stop() {
      log.info("draining", { drainMs: plan.cutAfterMs });
      // A successor takes what comes from now on, and is there for longer; or another keeper needs the addresses.
      await proxy.drain(keeper?.isOver() === true ? { ...plan, acceptMs: 0 } : plan);
      await proxy.close();
      sources.close();
      await admin.close();
      idleSeries.cancel();
      await logFiles.close();
    },
  };
}

/** Undefined where nobody keeps its sockets. */
function joinKeeper({ keptSockets }: RunProxyOptions, log: Log): KeeperLine | undefined {
  if (keptSockets === undefined) return undefined;
  return joinSocketKeeper(Number(keptSockets), log, "data-plane");
}

/** The admin port may be its predecessor's for a while, where one proxy takes the place of another. */
const adminRetryMs = 200;

function openAdmin(
  address: SocketAddress | undefined,
  ...[proxy, log, { waits }]: [Proxy, Logger, { readonly waits: boolean }]
): { readonly opened: Promise<void>; close(): Promise<void> } {
  let listener: HttpListener | undefined;
  let isClosed = false;
  // What is refused is not tried again.
  const place = address && placeOf(address, waits);
  const open = async (): Promise<void> => {
    while (place !== undefined && !isClosed) {
      try {
        listener = await serveAdmin(place, proxy.admin, log);
        return;
      } catch (thrown) {
        if (!waits) throw thrown;
        await new Promise<void>((resolve) => systemClock.schedule(adminRetryMs, resolve));
      }
    }
  };
  const opened = open();
  return {
    opened,
    async close() {
      isClosed = true;
      await opened;
      await listener?.close();
    },
  };
}

/** A proxy that ends takes its file away, and so would take away that of the one in its place. */
function placeOf(address: SocketAddress, isKept: boolean): SocketAddress | { socketPath: string } {
  if (!isPipe(address.address)) return address;
  if (!isKept) return { socketPath: address.address };
  const reason = "admin.address.pipe is not supported of a proxy that is supervised";
  throw new CommandFailure(exitCodes.findings, reason);
}

function drainPlanOf({ drainTimeS = "5", drainStrategy }: RunProxyOptions): DrainPlan {
  const seconds = Number(drainTimeS);
  if (!Number.isFinite(seconds) || seconds < 0 || drainTimeS.trim() === "") {
    throw new CommandFailure(exitCodes.usage, `--drain-time-s ${drainTimeS} is no time in seconds`);
  }
  const strategy = drainStrategy === "gradual" ? "gradual" : "immediate";
  return { ...endingPlan(seconds * 1000), strategy };
}

type OwnNode = Pick<ProxyOptions, "nodeId" | "nodeMetadata" | "nodeCluster" | "nodeZone"> &
  Pick<ProxyOptions, "environment" | "localCluster" | "internalBufferBytes">;

function nodeOf({ nodeId, node, ...config }: BootstrapConfig): OwnNode {
  return {
    nodeId,
    nodeMetadata: node.metadata ?? {},
    nodeCluster: node.cluster,
    nodeZone: node.locality?.zone ?? "",
    localCluster: config.localCluster,
    internalBufferBytes: config.internalBufferBytes,
    environment: { ...process.env },
  };
}

function refusal(problems: readonly string[]): CommandFailure {
  return new CommandFailure(exitCodes.findings, problems.join("\n"));
}
