/** A proxy that somebody means harm to: what it counts, what it takes, and whom it serves meanwhile. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";

import type { ProxyProcess } from "../../support/proxy-process.ts";

export const growthBytesMax: number = 64 * 1024 * 1024;
/** For an honest request, where the machine does other work. */
const honestMaxMs = 120_000;

export async function sumOf(proxy: ProxyProcess, series: string): Promise<number> {
  const lines = (await proxy.admin("/stats/prometheus")).split("\n");
  const found = lines.filter(
    (line) => line.startsWith(`${series}{`) || line.startsWith(`${series} `),
  );
  return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

async function ask(client: http2.ClientHttp2Session): Promise<string> {
  const stream = client.request({ ":path": "/honest" });
  let text = "";
  stream.on("data", (part: Buffer) => (text += part.toString("latin1")));
  await once(stream, "end", { signal: AbortSignal.timeout(honestMaxMs) });
  return text;
}

/** Asks over both protocols until told to stop; how often it was answered. */
export async function askHonestly(port: number, mayStop: () => boolean): Promise<number> {
  const client = http2.connect(`http://127.0.0.1:${port}`);
  let answered = 0;
  while (!mayStop() || answered < 3) {
    assert.equal(await ask(client), "ok");
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/honest`)).text(), "ok");
    answered++;
    await sleep(10);
  }
  client.destroy();
  return answered;
}

/** The most that it came to, in bytes. */
export async function watchMemory(proxy: ProxyProcess, mayStop: () => boolean): Promise<number> {
  let most = 0;
  while (!mayStop()) {
    most = Math.max(most, proxy.memory().resident);
    await sleep(10);
  }
  return most;
}
