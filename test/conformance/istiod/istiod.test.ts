/**
 * What an unmodified istiod sends to sidecars, as `tools/record-istiod.ts` wrote it down, drives
 * `heddle proxy`: all of it is accepted, and a request goes through both sidecars with mutual TLS.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get, type IncomingHttpHeaders } from "node:http";
import { connect, createServer as createTcpServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";

import { systemClock } from "../../../src/base/clock.ts";
import { type RunningProxy, runProxy } from "../../../src/cli/commands/proxy.ts";
import { startGrpcServer } from "../../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive } from "../../../src/net/grpc.ts";
import { registry } from "../../../src/wire/gen/es/registry.ts";
import { AdsServer, type ProxyAnswer } from "../../../src/xds/ads-server.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { encodedResource, type Snapshot, snapshotOf } from "../../../src/xds/snapshot.ts";
import { freePort } from "../../support/free-port.ts";
import { silentLog } from "../../support/silent-log.ts";
import { makeTestAuthority, type TestAuthority } from "../../support/test-certificates.ts";
import { type IstioNode, istioNodes } from "./nodes.ts";

/** The ports that stand in config.yaml for free ones: none beside another, for ranges end one above. */
const placeholders = [60_001, 60_003, 60_005, 60_011, 60_013, 60_021, 60_023, 60_025] as const;
type Ports = Readonly<Record<(typeof placeholders)[number], number>>;

test("istiod's resources carry requests and connections through two sidecars", async (t) => {
  const ports = await freePorts();
  const authority = await makeTestAuthority();
  const seen: IncomingHttpHeaders[] = [];
  const http = createServer((request, response) => {
    seen.push(request.headers);
    response.end(`catalog ${request.url}`);
  });
  const echo = createTcpServer((socket) => socket.pipe(socket));
  await listenOn(t, http, ports[60_021]);
  await listenOn(t, echo, ports[60_023]);
  const own = await withOwnDoors(ports);
  const catalog = await startSidecar(t, "catalog", { ports: own, authority });
  const front = await startSidecar(t, "front", { ports, authority });

  assert.equal(await ask(ports[60_001], "/"), "200 catalog /");
  assert.equal(await ask(ports[60_001], "/v2/x"), "200 catalog /rewritten/x");
  assert.equal(await ask(ports[60_001], "/fault"), "418 fault filter abort");
  assert.equal(await ask(ports[60_001], "/secret"), "403 RBAC: access denied");
  assert.equal(await exchange(ports[60_003], "by TCP"), "by TCP");
  // Whoever comes without a certificate is not let in.
  assert.equal(await ask(ports[60_011], "/"), "closed");

  for (const headers of seen) {
    const told = Object.keys(headers).filter((name) => name.startsWith("x-envoy-peer"));
    assert.deepEqual(told, [], "what proxies tell each other stays between them");
  }
  const [client, server] = [await front.metrics(), await catalog.metrics()];
  const ends = [
    /source_workload="front"/,
    /destination_workload="catalog"/,
    /source_app="front"/,
    /destination_service="catalog\.shop\.svc\.cluster\.local"/,
    /destination_service_name="catalog\.shop\.svc\.cluster\.local"/,
    /source_principal="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front"/,
    /destination_principal="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/catalog"/,
  ];
  for (const [metrics, reporter] of [
    [client, "source"],
    [server, "destination"],
  ] as const) {
    const line = metrics.find(
      (one) => one.startsWith("istio_requests_total{") && one.includes('response_code="200"'),
    );
    assert.ok(line !== undefined, `${reporter} counts no request`);
    for (const end of [...ends, new RegExp(`reporter="${reporter}"`)]) assert.match(line, end);
    assert.ok(metrics.some((one) => one.startsWith("istio_tcp_sent_bytes_total{")));
  }
  assert.match(client.join("\n"), /istio_requests_total\{[^}]*response_code="418"/);
  assert.match(server.join("\n"), /connection_security_policy="mutual_tls"/);
});

test("istiod's resources ask for tokens, and a service of its own", async (t) => {
  const ports = await freePorts();
  const authority = await makeTestAuthority();
  const seen: IncomingHttpHeaders[] = [];
  const http = createServer((request, response) => {
    seen.push(request.headers);
    response.end(`catalog ${request.url}`);
  });
  const asked: string[] = [];
  const authz = createServer((request, response) => {
    const user = String(request.headers["x-user"]);
    asked.push(`${request.method} ${request.url} ${user}`);
    const isFriend = user === "friend";
    response.writeHead(isFriend ? 200 : 401, isFriend ? { "x-allowed-by": "authz" } : {});
    response.end("asked");
  });
  await listenOn(t, http, ports[60_021]);
  await listenOn(t, authz, ports[60_025]);
  const keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const own = await withOwnDoors(ports);
  await startSidecar(t, "catalog", { ports: own, authority, keys });
  await startSidecar(t, "front", { ports, authority });
  const to = (path: string, headers: Readonly<Record<string, string>> = {}): Promise<string> =>
    ask(ports[60_001], path, headers);
  const bearer = (fields: object): Readonly<Record<string, string>> => {
    const part = (value: object): string =>
      Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${part({ alg: "RS256", kid: "one" })}.${part(fields)}`;
    const signature = sign("sha256", Buffer.from(text), keys.privateKey).toString("base64url");
    return { authorization: `Bearer ${text}.${signature}` };
  };

  assert.equal(await to("/"), "200 catalog /");
  assert.equal(await to("/token"), "403 RBAC: access denied");
  const good = bearer({ iss: "tests", sub: "alice", exp: 4_000_000_000 });
  assert.equal(await to("/token", good), "200 catalog /token");
  assert.equal(seen.at(-1)?.["x-subject"], "alice");
  assert.match(
    await to("/", bearer({ iss: "tests", sub: "alice", exp: 1 })),
    /^401 Jwt is expired/,
  );
  assert.match(await to("/", { authorization: `${good["authorization"]}x` }), /^401 Jwt/);

  assert.deepEqual(asked, []);
  assert.equal(await to("/asked/a", { "x-user": "friend" }), "200 catalog /asked/a");
  assert.equal(seen.at(-1)?.["x-allowed-by"], "authz");
  assert.equal(await to("/asked/b", { "x-user": "stranger" }), "401 asked");
  assert.deepEqual(asked, ["GET /check/asked/a friend", "GET /check/asked/b stranger"]);
});

test("istiod's resources for HBONE carry requests and connections through tunnels", async (t) => {
  const ports = await freePorts();
  const authority = await makeTestAuthority();
  const http = createServer((request, response) => response.end(`catalog ${request.url}`));
  const echo = createTcpServer((socket) => socket.pipe(socket));
  await listenOn(t, http, ports[60_021]);
  await listenOn(t, echo, ports[60_023]);
  const hbone = await freePort();
  const own = await withOwnDoors(ports);
  const catalog = await startSidecar(t, "catalog-hbone", { ports: own, authority, hbone });
  const front = await startSidecar(t, "front-hbone", { ports, authority, hbone });

  assert.equal(await ask(ports[60_001], "/"), "200 catalog /");
  assert.equal(await ask(ports[60_001], "/secret"), "403 RBAC: access denied");
  assert.equal(await exchange(ports[60_003], "by TCP"), "by TCP");

  const [client, server] = [await front.metrics(), await catalog.metrics()];
  const series = (lines: readonly string[], start: string): string =>
    lines.find((line) => line.startsWith(start)) ?? assert.fail(`no ${start}`);
  // One connection carried them all.
  assert.match(
    series(client, 'envoy_cluster_upstream_cx_http2_total{cluster_name="connect_originate'),
    / 1$/,
  );
  for (const metric of ["istio_requests_total{", "istio_tcp_sent_bytes_total{"]) {
    const line = series(server, metric);
    for (const end of [
      /reporter="destination"/,
      /destination_workload="catalog"/,
      /source_principal="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front"/,
      /destination_principal="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/catalog"/,
      /connection_security_policy="mutual_tls"/,
    ]) {
      assert.match(line, end);
    }
    assert.match(series(client, metric), /destination_workload="catalog-1"/);
  }
});

test("istiod's resources for a sidecar that captures are accepted whole", async (t) => {
  const [ports, authority] = [await freePorts(), await makeTestAuthority()];
  const captured = await startSidecar(t, "captured", { ports, authority });
  assert.deepEqual(
    captured.listeners().filter((name) => name.startsWith("virtual")),
    ["virtualInbound", "virtualOutbound"],
  );
});

/** On one machine without capture each sidecar has ports of its own for what is called. */
async function withOwnDoors(ports: Ports): Promise<Ports> {
  const [http, tcp, authz] = [await freePort(), await freePort(), await freePort()];
  return { ...ports, 60_001: http, 60_003: tcp, 60_005: authz };
}

interface Sidecar {
  metrics(): Promise<readonly string[]>;
  listeners(): readonly string[];
}

/** The proxy with a control plane that sends what istiod sent, and an agent that has its secrets. */
async function startSidecar(
  t: TestContext,
  name: IstioNode["name"],
  mesh: {
    readonly ports: Ports;
    readonly authority: TestAuthority;
    readonly hbone?: number;
    /** What tokens are signed with. */
    readonly keys?: { readonly publicKey: KeyObject };
  },
): Promise<Sidecar> {
  const node = istioNodes.find((one) => one.name === name);
  assert.ok(node !== undefined);
  const answers: ProxyAnswer[] = [];
  const recorded = await recordedOf(name, mesh);
  const control = await serve(t, node.id, recorded, answers);
  const agent = await serve(t, node.id, await secretsOf(node, mesh.authority), answers);
  const adminPort = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "heddle-istiod-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, "bootstrap.json");
  writeFileSync(config, JSON.stringify(bootstrapOf(node, { control, agent, admin: adminPort })));
  const running: RunningProxy = await runProxy({
    config,
    logLevel: "error",
    logFormat: "text",
    drainTimeS: "0",
  });
  t.after(() => running.stop());
  assert.deepEqual(
    answers.flatMap((one) => (one.kind === "refused" ? [one.reason] : [])),
    [],
  );
  const asked = async (path: string): Promise<string> =>
    await (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text();
  const listeners = (await asked("/listeners"))
    .split("\n")
    .map((line) => line.split("::")[0] ?? "");
  return {
    metrics: async () => (await asked("/stats/prometheus")).split("\n"),
    listeners: () => listeners.toSorted(),
  };
}

async function serve(
  t: TestContext,
  nodeId: string,
  snapshot: Snapshot,
  answers: ProxyAnswer[],
): Promise<number> {
  const server = new AdsServer({
    clock: systemClock,
    log: silentLog,
    events: { onAnswer: (_proxy, answer) => void answers.push(answer) },
  });
  server.setSnapshot(nodeId, snapshot);
  const grpc = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    methods: server.methods((_call, node) => node?.id ?? ""),
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
  });
  t.after(() => grpc.close());
  assert.ok("port" in grpc.address);
  return grpc.address.port;
}

/** With ports of this run's own; tunnels end at `hbone`. */
async function recordedOf(
  name: string,
  { ports, hbone = 15_008, keys }: Omit<Parameters<typeof startSidecar>[2], "authority">,
): Promise<Snapshot> {
  let text = readFileSync(new URL(`${name}.json`, import.meta.url), "utf8");
  for (const port of placeholders) text = text.replaceAll(String(port), String(ports[port]));
  const modulus = keys?.publicKey.export({ format: "jwk" }).n;
  if (modulus !== undefined) text = text.replaceAll(/(\\"n\\":\\")[^\\]+/g, `$1${modulus}`);
  if (name === "captured") {
    for (const port of [15_001, 15_006])
      text = text.replaceAll(String(port), String(await freePort()));
  }
  text = text.replaceAll(/("upstreamPortOverride": )15008/g, `$1${hbone}`);
  const listening = name.startsWith("front") ? await freePort() : hbone;
  text = text.replaceAll(/("portValue": )15008/g, `$1${listening}`);
  // Our own tool wrote it.
  const types = JSON.parse(text) as Record<string, Record<string, JsonValue>>;
  return snapshotOf(
    "recorded",
    Object.entries(types).map(([typeUrl, resources]) => [
      typeUrl,
      Object.entries(resources).map(([resource, json]) => {
        const type = registry.getMessage(typeUrl.slice(typeUrl.indexOf("/") + 1));
        assert.ok(type !== undefined);
        return encodedResource(resource, toBinary(type, fromJson(type, json, { registry })));
      }),
    ]),
  );
}

async function secretsOf(node: IstioNode, authority: TestAuthority): Promise<Snapshot> {
  const account = String(node.metadata["SERVICE_ACCOUNT"]);
  const { chainPem, privateKeyPem } = await authority.issue({
    uris: [`spiffe://cluster.local/ns/shop/sa/${account}`],
  });
  const type = registry.getMessage("envoy.extensions.transport_sockets.tls.v3.Secret");
  assert.ok(type !== undefined);
  const secret = (name: string, fields: Record<string, JsonValue>) =>
    encodedResource(name, toBinary(type, fromJson(type, { name, ...fields }, { registry })));
  return snapshotOf("secrets", [
    [
      typeUrls.secret,
      [
        secret("default", {
          tlsCertificate: {
            certificateChain: { inlineString: chainPem },
            privateKey: { inlineString: privateKeyPem },
          },
        }),
        secret("ROOTCA", {
          validationContext: { trustedCa: { inlineString: authority.rootPem } },
        }),
      ],
    ],
  ]);
}

/** As istio-agent writes it for Envoy, without what concerns Envoy's own statistics. */
function bootstrapOf(
  node: IstioNode,
  ports: { readonly control: number; readonly agent: number; readonly admin: number },
): object {
  const ads = { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" };
  return {
    node: { id: node.id, cluster: "shop", metadata: node.metadata },
    layered_runtime: {
      layers: [
        {
          name: "global config",
          static_layer: {
            "envoy.reloadable_features.http_reject_path_with_fragment": false,
            "overload.global_downstream_max_connections": "2147483647",
            "re2.max_program_size.error_level": "32768",
          },
        },
        { name: "admin", admin_layer: {} },
      ],
    },
    bootstrap_extensions: [
      {
        name: "envoy.bootstrap.internal_listener",
        typed_config: {
          "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
          type_url:
            "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
          value: { buffer_size_kb: 64 },
        },
      },
    ],
    stats_config: { use_all_default_tags: false },
    admin: {
      profile_path: "/var/lib/istio/data/envoy.prof",
      address: { socket_address: { address: "127.0.0.1", port_value: ports.admin } },
    },
    dynamic_resources: {
      lds_config: ads,
      cds_config: ads,
      ads_config: {
        api_type: "DELTA_GRPC",
        set_node_on_first_message_only: true,
        transport_api_version: "V3",
        grpc_services: [{ envoy_grpc: { cluster_name: "xds-grpc" } }],
      },
    },
    static_resources: {
      clusters: [grpcCluster("xds-grpc", ports.control), grpcCluster("sds-grpc", ports.agent)],
    },
  };
}

function grpcCluster(name: string, port: number): object {
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  return {
    name,
    connect_timeout: "1s",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
  };
}

async function freePorts(): Promise<Ports> {
  const ports: [number, number][] = [];
  for (const placeholder of placeholders) ports.push([placeholder, await freePort()]);
  // Each placeholder has its port.
  return Object.fromEntries(ports) as Ports;
}

async function listenOn(t: TestContext, server: Server, port: number): Promise<void> {
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", () => resolve()));
  t.after(() => void server.close());
}

/** By the name of the service: a sidecar without capture would send what it does not know to itself. */
function ask(
  port: number,
  path: string,
  more: Readonly<Record<string, string>> = {},
): Promise<string> {
  const headers = { host: "catalog.shop.svc.cluster.local", ...more };
  return new Promise((resolve) => {
    const request = get({ port, path, headers, agent: false }, (response) => {
      let body = "";
      response.on("data", (bytes: Buffer) => (body += bytes.toString()));
      response.on("end", () => resolve(`${response.statusCode} ${body}`));
    });
    request.on("error", () => resolve("closed"));
  });
}

function exchange(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.end(text));
    let answer = "";
    socket.on("data", (bytes) => (answer += bytes.toString()));
    socket.on("end", () => resolve(answer));
    socket.on("error", reject);
  });
}
