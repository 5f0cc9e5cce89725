/** Proxies under test and Envoy, from bootstraps of the same making, and a server behind them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { untilOpen } from "../http2/planes.ts";

export const planeNames = ["portable", "epoll", "envoy"] as const;
export type PlaneName = (typeof planeNames)[number];

export interface RunningPlane {
  readonly close: () => Promise<void>;
}

/** `port`: of a listener, by which Envoy shows that it serves. Of our logs `onLogged` hears. */
export async function startPlane(
  name: PlaneName,
  bootstrap: object,
  port: number,
  onLogged: (text: string) => void = () => {},
): Promise<RunningPlane> {
  if (name !== "envoy") return await startProxyInProcess(bootstrap, name, onLogged);
  const binary = findEnvoy();
  if (binary === undefined) throw new Error("no Envoy at hand: npm test installs one");
  const envoy = startEnvoy(binary, bootstrap, ["--file-flush-interval-msec", "10"]);
  try {
    await untilOpen(port, envoy.log);
  } catch (thrown) {
    await envoy.stop();
    throw thrown;
  }
  return { close: () => envoy.stop() };
}

export async function until(isSo: () => boolean, what: string | (() => string)): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!isSo()) {
    if (Date.now() > deadline) assert.fail(`never: ${typeof what === "string" ? what : what()}`);
    await sleep(5);
  }
}

/** Says everything back, and ends when its client has. */
export class EchoServer {
  readonly #server: net.Server;
  readonly #open = new Set<net.Socket>();

  private constructor(greeting: string) {
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.#open.add(socket);
      socket.on("close", () => this.#open.delete(socket));
      socket.on("error", () => {});
      if (greeting !== "") socket.write(greeting);
      socket.pipe(socket);
    });
  }

  static async start(greeting = ""): Promise<EchoServer> {
    const server = new EchoServer(greeting);
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address !== "string" ? address.port : 0;
  }

  get open(): number {
    return this.#open.size;
  }

  breakAll(): void {
    for (const socket of this.#open) socket.resetAndDestroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
  }
}

/** One connection of a client, and what it has heard. */
export class Client {
  text = "";
  bytes = 0;
  hasEnded = false;
  isClosed = false;
  error = "";
  readonly socket: net.Socket;

  constructor(port: number, keepsText = true) {
    this.socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    this.socket.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (keepsText) this.text += chunk.toString("latin1");
    });
    this.socket.on("end", () => (this.hasEnded = true));
    this.socket.on("close", () => (this.isClosed = true));
    this.socket.on("error", (error) => (this.error = error.message));
  }

  say(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  end(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }

  async hears(text: string): Promise<void> {
    await until(() => this.text === text || this.isClosed, "the server's words, or its end");
    assert.equal(this.text, text, this.error);
  }

  async ends(): Promise<void> {
    await until(() => this.hasEnded || this.isClosed, "the server's end");
  }

  async closes(): Promise<void> {
    await until(() => this.isClosed, "the connection's end");
  }
}
