import { type Command, InvalidArgumentError, Option } from "commander";

import type { ProxyStatus } from "../../console/api.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshApi, type MeshOptions } from "../mesh-api.ts";
import { proxiesNamed } from "../proxy-name.ts";
import { type TappedRequest, tapLine } from "../tap/lines.ts";

interface Options extends MeshOptions {
  readonly path?: string;
  readonly method?: string;
  readonly status?: string;
  readonly failed: boolean;
  readonly slow: boolean;
  readonly last: number;
  readonly rate: number;
  readonly max?: number;
  readonly output: "table" | "json";
}

interface TapAnswer {
  readonly requests: readonly TappedRequest[];
  readonly upTo: number;
  readonly leftOut: number;
}

const askEveryMs = 500;

export function registerTapCommand(program: Command): void {
  addMeshOptions(program.command("tap"))
    .argument("<workload>", "workload or instance")
    .description("show requests as a workload's proxies serve them, with where their time went")
    .option("--path <prefix>", "only paths that begin like this")
    .option("--method <method>", "only this method", (text) => text.toUpperCase())
    .option("--status <code>", "only this status, or a class like 5xx", parseStatus)
    .option("--failed", "only requests that failed or that the proxy refused", false)
    .option("--slow", "only requests that took a second or more", false)
    .option("--last <count>", "begin with so many that were kept before", parseCount, 0)
    .option("--rate <count>", "print so many a second at most", parseCount, 50)
    .option("--max <count>", "end after so many", parseCount)
    .addOption(
      new Option("-o, --output <format>", "how to print: lines, or a JSON object a line")
        .choices(["table", "json"])
        .default("table"),
    )
    .action(async (workload: string, options: Options) => {
      if (options.failed && options.slow) {
        throw new CommandFailure(exitCodes.usage, "--failed and --slow exclude each other");
      }
      await follow(connectToMesh(options), workload, options);
    });
}

/** Until it is interrupted, has printed `--max`, or the mesh ends. */
async function follow(api: MeshApi, workload: string, options: Options): Promise<void> {
  const printer = new TapPrinter(options);
  const positions = new Map<string, number>();
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- a handful over a Unix socket, in order
    for (const { proxy } of proxiesNamed(await api.get<ProxyStatus[]>("/api/proxies"), workload)) {
      const query = queryOf(options, positions.get(proxy));
      const path = `/api/proxies/${encodeURIComponent(proxy)}/tap?${query.toString()}`;
      // oxlint-disable-next-line no-await-in-loop -- as above
      const answer = await api.get<TapAnswer>(path);
      positions.set(proxy, answer.upTo);
      if (printer.take(proxy, answer)) return;
    }
    // oxlint-disable-next-line no-await-in-loop -- the pause between two rounds
    await new Promise((resolve) => setTimeout(resolve, askEveryMs));
  }
}

function queryOf(options: Options, after: number | undefined): URLSearchParams {
  const { path, method, status, failed, slow, last } = options;
  const query = new URLSearchParams(
    after === undefined ? { last: String(last) } : { after: String(after) },
  );
  if (path !== undefined) query.set("path", path);
  if (method !== undefined) query.set("method", method);
  if (status !== undefined) query.set("status", status);
  if (failed || slow) query.set("only", failed ? "failed" : "slow");
  return query;
}

/** Prints what the rate allows, and says on standard error what was left out. */
class TapPrinter {
  readonly #options: Options;
  readonly #leftOut = new Map<string, number>();
  #second = 0;
  #inSecond = 0;
  #printed = 0;
  #held = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  /** True when it has printed enough. */
  take(proxy: string, { requests, leftOut }: TapAnswer): boolean {
    const { rate, max = Number.POSITIVE_INFINITY, output } = this.#options;
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.#second) {
      this.#tellHeld();
      this.#second = second;
      this.#inSecond = 0;
    }
    for (const request of requests) {
      if (++this.#inSecond > rate) {
        this.#held++;
        continue;
      }
      console.log(
        output === "json" ? JSON.stringify({ proxy, ...request }) : `${proxy}  ${tapLine(request)}`,
      );
      if (++this.#printed >= max) return true;
    }
    this.#tellLeftOut(proxy, leftOut);
    return false;
  }

  #tellHeld(): void {
    if (this.#held > 0) console.error(`${this.#held} more were not printed: --rate`);
    this.#held = 0;
  }

  #tellLeftOut(proxy: string, leftOut: number): void {
    const before = this.#leftOut.get(proxy) ?? leftOut;
    this.#leftOut.set(proxy, leftOut);
    if (leftOut > before) {
      console.error(`${leftOut - before} more at ${proxy} were too many for it to keep`);
    }
  }
}

function parseStatus(text: string): string {
  if (/^[1-5](?:\d\d|xx)$/.test(text)) return text;
  throw new InvalidArgumentError("Write a code, or a class like 5xx.");
}

function parseCount(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Write a number.");
}
