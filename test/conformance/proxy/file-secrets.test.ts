/** Certificates and trust anchors that lie in files, as a DestinationRule names them, and when they change. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TLSSocket } from "node:tls";

import { load } from "js-yaml";

import { FileSecrets } from "../../../src/agent/io/file-secrets.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { type Proxy, startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePort } from "../../support/free-port.ts";
import { silentLog } from "../../support/silent-log.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { threads } from "../../support/workers.ts";
import { bootstrapOf } from "../balancing/planes.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-files-"));
const ours = await makeTestAuthority("ours");
const theirs = await makeTestAuthority("theirs");
const server = await ours.issue({ dnsNames: ["shop.test"] });
const client = await ours.issue({ commonName: "cart" });
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const backend = https.createServer(
  {
    key: server.privateKeyPem,
    cert: server.chainPem,
    ca: ours.rootPem,
    requestCert: true,
    rejectUnauthorized: true,
  },
  (request, response) => {
    const { CN } = (request.socket as TLSSocket).getPeerCertificate().subject;
    response.setHeader("connection", "close");
    response.end(String(CN));
  },
);

before(() => new Promise<void>((resolve) => void backend.listen(0, "127.0.0.1", resolve)));
after(() => {
  backend.closeAllConnections();
  backend.close();
  rmSync(folder, { recursive: true, force: true });
});

const tlsUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

function textFor(place: { port: number; adminPort: number }, roots: string): string {
  const certificate = `file-cert:${file("chain", client.chainPem)}~${file("key", client.privateKeyPem)}`;
  const names = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: shop.test}}]";
  const combined = `combined_validation_context: {default_validation_context: {${names}}, validation_context_sds_secret_config: {name: "file-root:${roots}"}}`;
  const common = `common_tls_context: {tls_certificate_sds_secret_configs: [{name: "${certificate}"}], ${combined}}`;
  const socket = `transport_socket: {name: tls, typed_config: {"@type": ${tlsUrl}, sni: shop.test, ${common}}}`;
  const { port } = backend.address() as AddressInfo;
  const assignment = `{cluster_name: shop, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}`;
  return bootstrapOf(place, {
    clusters: [`{name: shop, load_assignment: ${assignment}, ${socket}}`],
    routes: ["{match: {prefix: /}, route: {cluster: shop}}"],
  });
}

function ask(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    http
      .get({ port, agent: false }, (response) => {
        let text = "";
        response.setEncoding("latin1");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve(`${response.statusCode ?? 0} ${text.slice(0, 8)}`));
      })
      .on("error", reject);
  });
}

for (const [io, workers] of [
  ["portable", 0],
  ["epoll", 0],
  ["epoll", 1],
] as const) {
  test(`secrets lie in files, and change with them (${io}, ${workers} workers)`, async () => {
    const clock = new FakeClock();
    const roots = file("roots", theirs.rootPem);
    const port = await freePort();
    const {
      feed,
      secrets: others,
      nodeId,
    } = parseBootstrap({
      name: "bootstrap.yaml",
      text: textFor({ port, adminPort: await freePort() }, roots),
      parseYaml: (yaml) => load(yaml),
      readFile: () => Buffer.alloc(0),
    });
    const secrets = new FileSecrets({
      clock,
      log: silentLog,
      metrics: createMetricRegistry(),
      others,
    });
    const proxy: Proxy = startProxy({
      feed,
      secrets,
      clock: systemClock,
      log: createLog({ level: "error", format: "text", clock: systemClock, sink: () => {} }),
      ...threads(workers),
      random: Math.random,
      peers: noPeers,
      openLog: () => () => undefined,
      io,
      nodeId,
      version: "test",
    });
    await proxy.ready;
    assert.match(await ask(port), /^503 /);
    file("roots", ours.rootPem);
    clock.advance(10_000);
    const deadline = Date.now() + 30_000;
    while ((await ask(port)) !== "200 cart") assert.ok(Date.now() < deadline, "it has not changed");
    await proxy.close();
    secrets.close();
  });
}
