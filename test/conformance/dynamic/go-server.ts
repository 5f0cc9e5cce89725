/** The program in control-plane/, as tests use it: snapshots go in, what its clients said comes out. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { buildControlPlane } from "../../../tools/build-control-plane.ts";

export interface GoServerEvent {
  readonly kind: "listening" | "opened" | "snapshot" | "sotw" | "delta";
  readonly node?: string;
  readonly type?: string;
  readonly version?: string;
  readonly nonce?: string;
  readonly names?: readonly string[];
  readonly removed?: readonly string[];
  readonly error?: string;
}

export interface GoSnapshot {
  readonly version: string;
  readonly clusters?: readonly object[];
  readonly endpoints?: readonly object[];
  readonly listeners?: readonly object[];
  readonly routes?: readonly object[];
  readonly secrets?: readonly object[];
  readonly extensions?: readonly object[];
}

export class GoServer {
  readonly events: GoServerEvent[] = [];
  readonly #child: ChildProcess;
  readonly #waiters = new Set<() => void>();

  private constructor(child: ChildProcess) {
    this.#child = child;
    assert.ok(child.stdout !== null);
    createInterface({ input: child.stdout }).on("line", (line) => {
      // Our own program writes these lines.
      this.events.push(JSON.parse(line) as GoServerEvent);
      for (const wake of this.#waiters) wake();
    });
  }

  static async start(
    port: number,
    tls?: { readonly certFile: string; readonly keyFile: string },
  ): Promise<GoServer> {
    const binary =
      process.env["HEDDLE_GO_CONTROL_PLANE"] ??
      buildControlPlane(() => assert.fail("Go is missing: npm test installs it"));
    const secure = tls === undefined ? [] : ["--cert", tls.certFile, "--key", tls.keyFile];
    const child = spawn(binary, ["--listen", `127.0.0.1:${port}`, ...secure], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const server = new GoServer(child);
    await server.until(({ kind }) => kind === "listening", "it listens");
    return server;
  }

  async serve(snapshot: GoSnapshot): Promise<void> {
    this.#child.stdin?.write(`${JSON.stringify(snapshot)}\n`);
    const isServed = ({ kind, version }: GoServerEvent): boolean =>
      kind === "snapshot" && version === snapshot.version;
    await this.until(isServed, `snapshot ${snapshot.version}`);
  }

  /** The first event from `since` on that is meant; fails after thirty seconds. */
  async until(
    isMeant: (event: GoServerEvent) => boolean,
    what: string,
    since = 0,
  ): Promise<GoServerEvent> {
    const deadline = AbortSignal.timeout(30_000);
    for (;;) {
      const found = this.events.slice(since).find(isMeant);
      if (found !== undefined) return found;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      deadline.addEventListener("abort", () => resolve(), { once: true });
      await promise;
      this.#waiters.delete(resolve);
      if (deadline.aborted) {
        assert.fail(
          `not seen: ${what}\n${this.events.map((one) => JSON.stringify(one)).join("\n")}`,
        );
      }
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}
