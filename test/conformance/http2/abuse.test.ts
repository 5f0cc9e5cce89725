/**
 * Clients of HTTP/2 that mean harm: each class of abuse meets a bound that is counted, the proxy's memory
 * stays within 64 MB of what it takes when idle, and honest clients are served all the while. On both
 * backends; and under Envoy where it counts the same.
 */
import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { sidecarFlags } from "../../../src/local/run/sidecar-process.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import {
  proxyBootstrap,
  type ProxyProcess,
  startProxyProcess,
} from "../../support/proxy-process.ts";
import { askHonestly, growthBytesMax, sumOf, watchMemory } from "./abused-proxy.ts";
import { Attacker } from "./attacker.ts";
import { type Attack, attacks } from "./attacks.ts";

type Io = "portable" | "epoll";
const manager = {
  stream_idle_timeout: "1s",
  request_headers_timeout: "1s",
  common_http_protocol_options: { max_headers_count: 100 },
  route_config: {
    virtual_hosts: [
      {
        name: "all",
        domains: ["*"],
        routes: [
          // Attackers may use up what their cluster allows; and what is honest may take its time.
          {
            match: { prefix: "/honest" },
            route: { cluster: "honest", timeout: "0s", idle_timeout: "30s" },
          },
          { match: { prefix: "/none" }, direct_response: { status: 204 } },
          {
            match: { prefix: "/kept" },
            route: {
              cluster: "app",
              timeout: "0s",
              idle_timeout: "30s",
              retry_policy: { retry_on: "5xx" },
            },
          },
          { match: { prefix: "/" }, route: { cluster: "app", timeout: "0s" } },
        ],
      },
    ],
  },
};

/** A proxy that has as good as nothing to clean up from attacks before; `idleBytes` is what it began with. */
interface Rested {
  readonly proxy: ProxyProcess;
  readonly idleBytes: number;
}

const restedBytesMax = 8 * 1024 * 1024;
const proxies = new Map<Io, Rested>();
let applicationPort = 0;
let honestPort = 0;
let envoy: { readonly port: number; readonly adminPort: number; stop(): Promise<void> } | undefined;

const large = Buffer.alloc(20_000_000, "x");
const application = http.createServer((request, response) => {
  if (request.url === "/large") return void response.end(large);
  if (request.url === "/") return void response.end("ok");
  // `/hang` never answers, `/sink` and `/kept` do not even read.
});
/** Its own, for thousands of connections that are begun and given up fill the other's queue. */
const honestApplication = http.createServer((_request, response) => void response.end("ok"));

before(async () => {
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  applicationPort = (application.address() as AddressInfo).port;
  await new Promise<void>((resolve) => honestApplication.listen(0, "127.0.0.1", resolve));
  honestPort = (honestApplication.address() as AddressInfo).port;
  const { config, ports } = await proxyBootstrap({ applicationPort, ...common() });
  const running = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), config);
  envoy = { port: ports.port, adminPort: ports.adminPort, stop: () => running.stop() };
  for (let turn = 0; turn < 400; turn++) {
    const isOpen = await fetch(`http://127.0.0.1:${ports.port}/`).then(
      () => true,
      () => false,
    );
    if (isOpen) break;
    await sleep(50);
  }
});

function common() {
  return { manager, clusters: { honest: honestPort } };
}

async function rested(io: Io): Promise<Rested> {
  const before = proxies.get(io);
  if (before !== undefined) {
    if (before.proxy.memory().resident <= before.idleBytes + restedBytesMax) return before;
    await end(before.proxy);
  }
  const proxy = await startProxyProcess({ io, applicationPort, flags: sidecarFlags, ...common() });
  await askHonestly(proxy.port, () => true);
  const begun = { proxy, idleBytes: proxy.memory().resident };
  proxies.set(io, begun);
  return begun;
}

async function end(proxy: ProxyProcess): Promise<void> {
  await proxy.stop();
  assert.doesNotMatch(proxy.log(), /Error|FATAL/);
}

after(async () => {
  for (const { proxy } of proxies.values()) await end(proxy);
  await envoy?.stop();
  for (const server of [application, honestApplication]) {
    server.close();
    server.closeAllConnections();
  }
});

async function attackAt(port: number, attack: Attack): Promise<readonly Attacker[]> {
  const begun = Array.from({ length: attack.attackers }, () =>
    Attacker.connect(port, attack.settings),
  );
  const attackers = await Promise.all(begun);
  await Promise.all(attackers.map((attacker) => attack.run(attacker)));
  return attackers;
}

for (const attack of attacks) {
  for (const io of ["portable", "epoll"] as const) {
    test(`http2 bounds a client that ${attack.name} (${io})`, async (t) => {
      const { proxy, idleBytes } = await rested(io);
      const counted = attack.series === undefined ? 0 : await sumOf(proxy, attack.series);
      let isOver = false;
      const honest = askHonestly(proxy.port, () => isOver);
      const memory = watchMemory(proxy, () => isOver);
      const attackers = await attackAt(proxy.port, attack).finally(() => (isOver = true));
      const growth = (await memory) - idleBytes;
      t.diagnostic(`${Math.round(growth / 1e6)} MB more, ${await honest} honest answers`);
      if (attack.ends === "closed") {
        for (const attacker of attackers) {
          await attacker.until(() => attacker.isClosed, 5000);
          assert.ok(attacker.isClosed, "its connection goes on");
        }
      } else {
        for (const attacker of attackers) assert.equal(attacker.isClosed, false, "it was ended");
      }
      for (const attacker of attackers) attacker.close();
      if (attack.series !== undefined) {
        const more = (await sumOf(proxy, attack.series)) - counted;
        assert.ok(more >= attackers.length, `${attack.series} counted ${more}`);
      }
      assert.ok(growth <= growthBytesMax, `memory grew by ${growth} bytes`);
    });
  }

  const { envoy: stat } = attack;
  if (stat === undefined) continue;
  test(`http2 bounds a client that ${attack.name} (envoy)`, async () => {
    const { port, adminPort } = envoy ?? assert.fail();
    const read = async (): Promise<number> => {
      const answer = await fetch(`http://127.0.0.1:${adminPort}/stats?filter=${stat}`);
      const counts = (await answer.text()).matchAll(/: (\d+)$/gm);
      return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
    };
    const before = await read();
    const attackers = await attackAt(port, attack);
    const closed = attackers.map((attacker) =>
      attacker.until(() => attacker.isClosed, attack.ends === "closed" ? 1000 : 0),
    );
    await Promise.all(closed);
    for (const attacker of attackers) attacker.close();
    assert.ok((await read()) > before, `${stat} counted nothing`);
  });
}
