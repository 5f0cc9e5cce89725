/**
 * Tells the kernel which port of ours takes the datagrams for a service: elements of the maps that capture
 * made in this network namespace. Needs CAP_NET_ADMIN there, and nft; asks for neither before it is used.
 */
import { execFile } from "node:child_process";
import { isIPv4 } from "node:net";

import { datagramTable } from "../base/datagram-capture.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";

const timeoutMs = 10_000;

export class DatagramCapture {
  readonly #log: Logger;
  #isOpen: Promise<boolean> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Rejects with `agent.capture`. Where capture made no maps, a line in the log says so, once. */
  async add(service: SocketAddress, port: number): Promise<void> {
    this.#isOpen ??= this.#open();
    if (await this.#isOpen) await change("add", service, port);
  }

  async remove(service: SocketAddress, port: number): Promise<void> {
    if (await this.#isOpen) await change("delete", service, port);
  }

  /** Forgets what a process before this one has told. */
  async #open(): Promise<boolean> {
    try {
      for (const map of ["services4", "services6"]) await nft("flush", "map", map);
      return true;
    } catch (thrown) {
      const reason = messageOf(thrown);
      this.#log.warn("datagrams for services are not captured: they need nft", { reason });
      return false;
    }
  }
}

async function change(verb: "add" | "delete", service: SocketAddress, own: number): Promise<void> {
  const map = isIPv4(service.address) ? "services4" : "services6";
  await nft(verb, "element", map, `{ ${service.address} . ${service.port} : ${own} }`);
}

function nft(...[verb, what, ...words]: [string, string, ...string[]]): Promise<void> {
  return new Promise((resolve, reject) => {
    const all = [verb, what, "inet", datagramTable, ...words];
    execFile("nft", all, { timeout: timeoutMs }, (error, _stdout, stderr) => {
      if (error === null) resolve();
      else reject(new HeddleError("agent.capture", stderr.trim() || error.message));
    });
  });
}
