/** A client of HTTP/2 that means harm: writes as fast as it is taken, reads or does not, and keeps no content. */
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { frame, frameBytes } from "./raw-client.ts";

const goAwayType = 7;

export class Attacker {
  /** Code of the last GOAWAY. */
  goAway: number | undefined;
  resets = 0;
  heads = 0;
  contentBytes = 0;
  isClosed = false;
  readonly #socket: net.Socket;
  #head: Buffer = Buffer.alloc(0);
  /** Of the frame being read; its content is not kept. */
  #left = 0;
  #code: Buffer = Buffer.alloc(0);
  #codeOf = -1;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("close", () => (this.isClosed = true));
    socket.on("error", () => {});
  }

  /** After preface and SETTINGS, with `settings` as their payload. */
  static async connect(port: number, settings: Uint8Array = Buffer.alloc(0)): Promise<Attacker> {
    const socket = net.connect(port, "127.0.0.1");
    await once(socket, "connect");
    const attacker = new Attacker(socket);
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write(frameBytes(frame.settings, 0, 0, settings));
    socket.write(frameBytes(frame.settings, 1, 0, Buffer.alloc(0)));
    return attacker;
  }

  stopReading(): void {
    this.#socket.pause();
  }

  readOn(): void {
    this.#socket.resume();
  }

  /** Waits while the proxy takes no more, but not longer than the time given. */
  async send(bytes: Uint8Array, patienceMs: number = 2000): Promise<void> {
    if (this.isClosed || this.#socket.write(bytes)) return;
    await this.#drained(patienceMs);
  }

  async #drained(patienceMs: number): Promise<void> {
    const until = performance.now() + patienceMs;
    while (this.#socket.writableNeedDrain && !this.isClosed && performance.now() < until) {
      await sleep(2);
    }
  }

  /** Sends what `make` makes, again and again, so many times or until the connection ends. */
  async repeat(times: number, make: (turn: number) => Uint8Array): Promise<void> {
    const batch = 50;
    for (let turn = 0; turn < times && !this.isClosed && this.goAway === undefined; turn += batch) {
      const parts: Uint8Array[] = [];
      for (let at = turn; at < Math.min(times, turn + batch); at++) parts.push(make(at));
      await this.send(Buffer.concat(parts));
      await sleep(0);
    }
  }

  async until(isReached: () => boolean, patienceMs: number): Promise<void> {
    const until = performance.now() + patienceMs;
    while (!isReached() && performance.now() < until) await sleep(5);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        if (this.#codeOf >= 0)
          this.#code = Buffer.concat([this.#code, chunk.subarray(at, at + step)]);
        this.#left -= step;
        at += step;
        if (this.#left === 0 && this.#codeOf >= 0) this.#onCode();
        continue;
      }
      const step = Math.min(9 - this.#head.length, chunk.length - at);
      this.#head = Buffer.concat([this.#head, chunk.subarray(at, at + step)]);
      at += step;
      if (this.#head.length === 9) this.#onHead();
    }
  }

  #onHead(): void {
    const type = this.#head[3] ?? 0;
    this.#left = this.#head.readUIntBE(0, 3);
    this.#head = Buffer.alloc(0);
    this.#code = Buffer.alloc(0);
    this.#codeOf = type === goAwayType ? type : -1;
    if (type === frame.headers) this.heads++;
    if (type === frame.reset) this.resets++;
    if (type === frame.data) this.contentBytes += this.#left;
  }

  #onCode(): void {
    this.goAway = this.#code.readUInt32BE(4);
  }
}
