/**
 * `heddle proxy` under a control plane that is not Heddle's: go-control-plane's ADS server, in both
 * variants of the protocol, plain and over TLS. Configuration comes, changes, is refused and goes;
 * the server dies and comes back.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { Agent, get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";

import {
  type RunningProxy,
  runProxy,
  type RunProxyOptions,
} from "../../../src/cli/commands/proxy.ts";
import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority, type TestAuthority } from "../../support/test-certificates.ts";
import { GoServer, type GoServerEvent, type GoSnapshot } from "./go-server.ts";

const url = (type: string): string => `type.googleapis.com/envoy.${type}`;
const clusterType = url("config.cluster.v3.Cluster");
const listenerType = url("config.listener.v3.Listener");
const folder = mkdtempSync(join(tmpdir(), "heddle-dynamic-"));
const applications = new Map<string, { readonly server: Server; readonly port: number }>();
let authority: TestAuthority;

before(async () => {
  authority = await makeTestAuthority();
  for (const name of ["a", "b"]) {
    const server = createServer((_request, response) => response.end(name));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const bound = server.address();
    assert.ok(typeof bound === "object" && bound !== null);
    applications.set(name, { server, port: bound.port });
  }
  const { chainPem, privateKeyPem } = await authority.issue({ dnsNames: ["control.test"] });
  writeFileSync(join(folder, "cert.pem"), chainPem);
  writeFileSync(join(folder, "key.pem"), privateKeyPem);
  writeFileSync(join(folder, "root.pem"), authority.rootPem);
});

after(() => {
  for (const { server } of applications.values()) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

for (const [variant, apiType, isTls] of [
  ["state of the world", "GRPC", false],
  ["incremental", "DELTA_GRPC", true],
] as const) {
  test(`go-control-plane drives the proxy: ${variant}${isTls ? ", over TLS" : ""}`, async (t) => {
    const control = await freePort();
    const [main, second] = [await freePort(), await freePort()];
    const tls = { certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") };
    let server = await GoServer.start(control, isTls ? tls : undefined);
    t.after(() => server.stop());
    const running = startProxy(t, bootstrapOf({ control, apiType, isTls }));

    await server.serve(snapshot("1", main, { app: "a" }));
    await running;
    assert.equal(await ask(main), "200 a");
    const first = server.events.find(({ type }) => type !== undefined);
    assert.equal(first?.node, "sidecar-1");
    assert.deepEqual(
      server.events.filter(({ error }) => (error ?? "") !== ""),
      [],
    );

    // Endpoints move; nothing is lost on the way.
    await server.serve(snapshot("2", main, { app: "b" }));
    await untilAnswer(main, "200 b");

    // A resource that cannot be honoured is refused by name and field; all else of the answer serves.
    const seen = server.events.length;
    const good = snapshot("3", main, { app: "b", other: "a" }, { extraListener: second });
    const broken = {
      name: "broken",
      lrsServer: { self: {} },
      lrsReportEndpointMetrics: ["cpu_utilization"],
    };
    const tainted = { name: "tainted", udpListenerConfig: {} };
    await server.serve({
      ...good,
      clusters: [...(good.clusters ?? []), broken],
      listeners: [...(good.listeners ?? []), tainted],
    });
    const isRefusalOf = (type: string) => (event: GoServerEvent) =>
      event.type === type && (event.error ?? "") !== "";
    const clusters = await server.until(isRefusalOf(clusterType), "the cluster's refusal", seen);
    assert.match(
      clusters.error ?? "",
      /^broken: lrs_server: is not supported; lrs_report_endpoint_metrics: /,
    );
    if (apiType === "GRPC")
      assert.equal(clusters.version, "2", "of the last answer that was accepted");
    const listeners = await server.until(isRefusalOf(listenerType), "the listener's refusal", seen);
    assert.match(listeners.error ?? "", /^tainted: .*udp_listener_config: is not supported/);
    await untilAnswer(second, "200 a");
    assert.equal(await ask(main), "200 b");

    // What the control plane no longer names is gone.
    await server.serve(snapshot("4", main, { app: "b" }));
    await untilAnswer(second, "refused");
    assert.equal(await ask(main), "200 b");

    // Without its control plane the proxy goes on; the next one finds it where it was.
    await server.stop();
    assert.equal(await ask(main), "200 b");
    server = await GoServer.start(control, isTls ? tls : undefined);
    await server.serve(snapshot("5", main, { app: "a" }));
    const back = await server.until(({ type }) => type === clusterType, "its first request");
    assert.equal(back.node, "sidecar-1");
    if (apiType === "GRPC") assert.equal(back.version, "4");
    await untilAnswer(main, "200 a");
  });
}

for (const [where, threads] of [
  ["the main thread", {}],
  ["two data workers", { io: "epoll", concurrency: 2 }],
] as const) {
  test(`secrets come over the stream, and new ones take over, on ${where}`, async (t) => {
    await exchangeSecrets(t, threads);
  });
}

async function exchangeSecrets(t: TestContext, threads: Threads): Promise<void> {
  const [control, port] = [await freePort(), await freePort()];
  const server = await GoServer.start(control);
  t.after(() => server.stop());
  const running = startProxy(t, bootstrapOf({ control, apiType: "GRPC", isTls: false }), threads);
  const secret = async (name: string): Promise<object> => {
    const { chainPem, privateKeyPem } = await authority.issue({ dnsNames: [name] });
    const tlsCertificate = {
      certificateChain: { inlineString: chainPem },
      privateKey: { inlineString: privateKeyPem },
    };
    return { name: "own", tlsCertificate };
  };
  const secure = { app: "a" };
  const listener = { tls: true };
  await server.serve({
    ...snapshot("1", port, secure, listener),
    secrets: [await secret("one.test")],
  });
  await running;
  assert.equal(await askTls(port, "one.test"), "200 a");
  await server.serve({
    ...snapshot("2", port, secure, listener),
    secrets: [await secret("two.test")],
  });
  for (let tries = 0; (await askTls(port, "two.test")) !== "200 a"; tries++) {
    assert.ok(tries < 100, "the new certificate is not shown");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("a control plane whose certificate is another's is not spoken to", async (t) => {
  const control = await freePort();
  const tls = { certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") };
  const server = await GoServer.start(control, tls);
  t.after(() => server.stop());
  const bootstrap = bootstrapOf({ control, apiType: "GRPC", isTls: true, sni: "stranger.test" });
  // Static listeners serve once nobody waits for more of them.
  const port = await freePort();
  const statics = snapshot("0", port, {}, { direct: true });
  const file = {
    ...bootstrap,
    static_resources: { ...bootstrap.static_resources, listeners: statics.listeners },
  };
  await startProxy(t, file);
  assert.equal(await ask(port), "200 hello");
  assert.deepEqual(
    server.events.filter(({ kind }) => kind === "opened"),
    [],
  );
});

function bootstrapOf(options: {
  readonly control: number;
  readonly apiType: string;
  readonly isTls: boolean;
  readonly sni?: string;
}): { readonly static_resources: object; readonly [field: string]: object } {
  const source = { ads: {}, initial_fetch_timeout: "2s", resource_api_version: "V3" };
  const socket = {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": url("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
      sni: options.sni ?? "control.test",
      common_tls_context: {
        validation_context: { trusted_ca: { filename: join(folder, "root.pem") } },
      },
    },
  };
  return {
    node: { id: "sidecar-1", cluster: "test" },
    dynamic_resources: {
      lds_config: source,
      cds_config: source,
      ads_config: {
        api_type: options.apiType,
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: "control" } }],
      },
    },
    static_resources: {
      clusters: [
        {
          name: "control",
          connect_timeout: "1s",
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": url("extensions.upstreams.http.v3.HttpProtocolOptions"),
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: assignment("control", options.control),
          ...(options.isTls ? { transport_socket: socket } : {}),
        },
      ],
    },
  };
}

function assignment(name: string, port: number): object {
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  return { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] };
}

interface Wanted {
  readonly extraListener?: number;
  readonly tls?: boolean;
  /** The listener answers itself. */
  readonly direct?: boolean;
}

/** Clusters by EDS with one application each; one listener with its routes by RDS, one with its own. */
function snapshot(
  version: string,
  port: number,
  clusters: Readonly<Record<string, string>>,
  wanted: Wanted = {},
): GoSnapshot {
  const ads = { ads: {}, resource_api_version: "V3" };
  const routes = { name: "main", virtual_hosts: [hostFor("app")] };
  const rds = { route_config_name: "main", config_source: ads };
  const direct = {
    ...hostFor("app"),
    routes: [
      {
        match: { prefix: "/" },
        direct_response: { status: 200, body: { inline_string: "hello" } },
      },
    ],
  };
  const more =
    wanted.direct === true
      ? { route_config: { name: "direct", virtual_hosts: [direct] } }
      : { rds };
  const sds = { name: "own", sds_config: ads };
  const secure = {
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        "@type": url("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        common_tls_context: { tls_certificate_sds_secret_configs: [sds] },
      },
    },
  };
  const listeners = [listener("main", port, more, wanted.tls === true ? secure : {})];
  if (wanted.extraListener !== undefined) {
    const own = { route_config: { name: "own", virtual_hosts: [hostFor("other")] } };
    listeners.push(listener("second", wanted.extraListener, own, {}));
  }
  return {
    version,
    clusters: Object.keys(clusters).map((name) => ({
      name,
      type: "EDS",
      eds_cluster_config: { eds_config: ads },
    })),
    endpoints: Object.entries(clusters).map(([name, application]) =>
      assignment(name, applications.get(application)?.port ?? 0),
    ),
    listeners,
    routes: wanted.direct === true ? [] : [routes],
  };
}

function hostFor(cluster: string): object {
  return { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster } }] };
}

function listener(name: string, port: number, routes: object, chain: object): object {
  const http = {
    "@type": url("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: name,
    ...routes,
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": url("extensions.filters.http.router.v3.Router") },
      },
    ],
  };
  return {
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    filter_chains: [{ filters: [{ name: "http", typed_config: http }], ...chain }],
  };
}

type Threads = Pick<RunProxyOptions, "io" | "concurrency">;

async function startProxy(
  t: TestContext,
  bootstrap: object,
  threads: Threads = {},
): Promise<RunningProxy> {
  const file = join(folder, `${t.name.replaceAll(/\W/g, "-")}.json`);
  writeFileSync(file, JSON.stringify(bootstrap, undefined, 1));
  const quiet = { logLevel: "error", logFormat: "text", drainTimeS: "0" } as const;
  const running = runProxy({ config: file, ...quiet, ...threads });
  t.after(async () => {
    await (await running).stop();
  });
  return await running;
}

/** Status and body of an answer; `refused` where nobody listens. */
async function ask(port: number): Promise<string> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: "close" } });
    return `${answer.status} ${await answer.text()}`;
  } catch {
    return "refused";
  }
}

async function untilAnswer(port: number, expected: string): Promise<void> {
  const seen = new Set<string>();
  for (let tries = 0; tries < 200; tries++) {
    const answer = await ask(port);
    if (answer === expected) return;
    seen.add(answer);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`never ${expected}, but ${[...seen].join(", ")}`);
}

function askTls(port: number, servername: string): Promise<string> {
  const agent = new Agent({ ca: authority.rootPem });
  return new Promise((resolve) => {
    const request = get({ port, host: "127.0.0.1", servername, agent }, (response) => {
      let body = "";
      response.on("data", (bytes: Buffer) => (body += bytes.toString()));
      response.on("end", () => resolve(`${response.statusCode} ${body}`));
    });
    request.on("error", (error) => resolve(error.message));
  });
}
