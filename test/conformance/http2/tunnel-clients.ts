/** Clients of either protocol that ask for a tunnel and talk through it. */
import assert from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import { endHeaders, endStream, type Fields, frame, RawClient } from "./raw-client.ts";

export interface TunnelQuestion {
  readonly kind: "websocket" | "connect";
  /** A path, or of CONNECT an authority. */
  readonly to: string;
}

export interface TunnelClient {
  /** The answer's status, once it has come. */
  status(): Promise<string>;
  /** Names of the answer's fields, but those that are always there. */
  readonly fields: readonly string[];
  /** What came behind the answer's head. */
  readonly heard: string;
  say(text: string): void;
  /** Says no more. */
  end(): void;
  hears(text: string): Promise<void>;
  /** How it ended, once it has. */
  ends(): Promise<string>;
  close(): void;
}

export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) assert.fail(`never: ${what}`);
    await sleep(5);
  }
}

const usual = /^(date|x-envoy-upstream-service-time|transfer-encoding|content-length)$/;
const key = "dGhlIHNhbXBsZSBub25jZQ==";

class Http1Tunnel implements TunnelClient {
  readonly #socket: net.Socket;
  #received = "";
  #end = "";

  constructor(socket: net.Socket, { kind, to }: TunnelQuestion) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => (this.#received += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("end", () => (this.#end = "ended"));
    socket.on("close", () => (this.#end ||= "closed"));
    const upgrade = `connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n`;
    socket.write(
      kind === "connect"
        ? `CONNECT ${to} HTTP/1.1\r\nhost: ${to}\r\n\r\n`
        : `GET ${to} HTTP/1.1\r\nhost: shop.test\r\n${upgrade}\r\n`,
    );
  }

  get #headEnd(): number {
    return this.#received.indexOf("\r\n\r\n");
  }

  async status(): Promise<string> {
    await until(() => this.#headEnd >= 0 || this.#end !== "", "an answer");
    return this.#received.slice(9, 12);
  }

  get fields(): readonly string[] {
    const lines = this.#received.slice(0, Math.max(0, this.#headEnd)).split("\r\n").slice(1);
    return lines.filter((line) => !usual.test(line.slice(0, line.indexOf(":")))).toSorted();
  }

  get heard(): string {
    return this.#received.slice(this.#headEnd + 4);
  }

  say(text: string): void {
    this.#socket.write(text);
  }

  end(): void {
    this.#socket.end();
  }

  async hears(text: string): Promise<void> {
    await until(() => this.heard.includes(text), text.slice(0, 20));
  }

  async ends(): Promise<string> {
    await until(() => this.#end !== "", "an end");
    return this.#end;
  }

  close(): void {
    this.#socket.destroy();
  }
}

class Http2Tunnel implements TunnelClient {
  readonly #client: RawClient;

  constructor(client: RawClient, { kind, to }: TunnelQuestion) {
    this.#client = client;
    const websocket: Fields = [
      [":method", "CONNECT"],
      [":protocol", "websocket"],
      [":scheme", "http"],
      [":authority", "shop.test"],
      [":path", to],
      ["sec-websocket-version", "13"],
    ];
    const connect: Fields = [
      [":method", "CONNECT"],
      [":authority", to],
    ];
    client.begin();
    client.request(1, kind === "connect" ? connect : websocket, endHeaders);
  }

  get #stream() {
    return this.#client.streams.get(1);
  }

  async status(): Promise<string> {
    const isOver = (): boolean => this.#client.isClosed || this.#stream?.reset !== undefined;
    await until(() => (this.#stream?.status ?? "") !== "" || isOver(), "an answer");
    return this.#stream?.status ?? "";
  }

  get fields(): readonly string[] {
    const fields = Object.entries(this.#stream?.fields ?? {});
    const shown = fields.filter(([name]) => !usual.test(name));
    return shown.map(([name, value]) => `${name}: ${value}`).toSorted();
  }

  get heard(): string {
    return this.#stream?.body ?? "";
  }

  say(text: string): void {
    this.#client.frame(frame.data, 0, 1, Buffer.from(text));
  }

  end(): void {
    this.#client.frame(frame.data, endStream, 1, Buffer.alloc(0));
  }

  async hears(text: string): Promise<void> {
    await until(() => this.heard.includes(text), text.slice(0, 20));
  }

  async ends(): Promise<string> {
    const isOver = (): boolean =>
      this.#stream?.isWhole === true || this.#stream?.reset !== undefined;
    await until(() => isOver() || this.#client.isClosed, "an end");
    return this.#stream?.isWhole === true ? "ended" : `reset ${this.#stream?.reset}`;
  }

  close(): void {
    this.#client.close();
  }
}

export async function askForTunnel(
  protocol: "http1" | "http2",
  port: number,
  question: TunnelQuestion,
): Promise<TunnelClient> {
  if (protocol === "http2") return new Http2Tunnel(await RawClient.connect(port), question);
  const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  await once(socket, "connect");
  return new Http1Tunnel(socket, question);
}
