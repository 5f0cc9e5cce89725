/**
 * Filters whose configurations stand under a name (ECDS): they come, change, are refused and go without their
 * listener being touched. The same control plane drives Heddle's proxy, on both I/O backends and with data
 * workers, and Envoy; what clients and the control plane see is compared.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test, type TestContext } from "node:test";

import { runProxy, type RunProxyOptions } from "../../../src/cli/commands/proxy.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { GoServer, type GoServerEvent, type GoSnapshot } from "./go-server.ts";

const url = (type: string): string => `type.googleapis.com/envoy.${type}`;
const extensionType = url("config.core.v3.TypedExtensionConfig");
const faultType = url("extensions.filters.http.fault.v3.HTTPFault");
const routerType = url("extensions.filters.http.router.v3.Router");
const folder = mkdtempSync(join(tmpdir(), "heddle-named-filters-"));

after(() => rmSync(folder, { recursive: true, force: true }));

const planes: Readonly<Record<string, Pick<RunProxyOptions, "io" | "concurrency"> | "envoy">> = {
  envoy: "envoy",
  portable: { io: "portable" },
  epoll: { io: "epoll" },
  "two workers": { io: "epoll", concurrency: 2 },
};

for (const [variant, apiType] of [
  ["state of the world", "GRPC"],
  ["incremental", "DELTA_GRPC"],
] as const) {
  test(`filters by name are what Envoy makes of them: ${variant}`, async (t) => {
    const seen = new Map<string, readonly string[]>();
    for (const [name, plane] of Object.entries(planes)) {
      seen.set(name, await drive(t, { plane, apiType, file: `${apiType}-${name}.json` }));
    }
    const [envoy, ...others] = seen;
    assert.ok(envoy !== undefined && others.length === 3);
    for (const [name, steps] of others) assert.deepEqual(steps, envoy[1], name);
  });
}

interface Drive {
  readonly plane: (typeof planes)[string];
  readonly apiType: "GRPC" | "DELTA_GRPC";
  readonly file: string;
}

async function drive(t: TestContext, { plane, apiType, file }: Drive): Promise<readonly string[]> {
  const control = await freePort();
  const ports = [await freePort(), await freePort(), await freePort(), await freePort()] as const;
  const server = await GoServer.start(control);
  const steps: string[] = [];
  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  const bootstrap = bootstrapOf(control, apiType);
  const stop = await start(plane, bootstrap, join(folder, file));
  try {
    const [bare, ready, late, ordinary] = ports;
    const step = async (what: string, port: number, expected: string): Promise<void> => {
      steps.push(`${what}: ${await untilAnswer(port, expected, kept)}`);
    };
    // Envoy begins with none of its first listeners before all of them are there.
    await server.serve(without("bare", snapshot("1", ports, [])));
    await step("others serve", ordinary, "200");
    await step("a default that does not wait", ready, "202");
    await step("a default that is waited for", late, "203");
    await server.serve(snapshot("2", ports, []));
    steps.push(`without any: ${await ask(bare, kept)}`);

    await server.serve(snapshot("3", ports, [fault("bare", 418), fault("ready", 418)]));
    await step("it has come", bare, "418");
    await step("instead of the default", ready, "418");

    await server.serve(snapshot("4", ports, [fault("bare", 419), fault("ready", 418)]));
    await step("it has changed", bare, "419");

    const since = server.events.length;
    const router = { name: "bare", typedConfig: { "@type": routerType } };
    await server.serve(snapshot("5", ports, [router, fault("ready", 418)]));
    const isRefusal = (event: GoServerEvent): boolean =>
      event.type === extensionType && (event.error ?? "") !== "";
    await server.until(isRefusal, "the refusal", since);
    steps.push(`refused: ${await ask(bare, kept)}`, `beside it: ${await ask(ready, kept)}`);

    await server.serve(snapshot("6", ports, [fault("bare", 421), fault("ready", 420)]));
    await step("mended", bare, "421");
    await step("the one beside it", ready, "420");

    await server.serve(snapshot("7", ports, []));
    // Where a response holds what was asked for and no more, nothing is ever taken away.
    const isDelta = apiType === "DELTA_GRPC";
    await step("taken away", bare, isDelta ? "500" : "421");
    steps.push(`why: ${await ask(bare, kept, true)}`);
    assert.match(steps.at(-1) ?? "", isDelta ? /: 500 NFCF$/ : /: 421 FI$/);
    await step("taken away, with a default", ready, isDelta ? "202" : "420");
    steps.push(`nothing else has changed: ${await ask(ordinary, kept)}`);
    return steps;
  } finally {
    kept.destroy();
    await stop();
    await server.stop();
  }
}

async function start(
  plane: Drive["plane"],
  bootstrap: object,
  file: string,
): Promise<() => Promise<void>> {
  if (plane === "envoy") {
    const binary = findEnvoy();
    assert.ok(binary !== undefined, "no Envoy: npm test installs one, or set HEDDLE_ENVOY");
    const admin = { address: { socket_address: { address: "127.0.0.1", port_value: 0 } } };
    const envoy = startEnvoy(binary, { admin, ...bootstrap }, []);
    return () => envoy.stop();
  }
  writeFileSync(file, JSON.stringify(bootstrap));
  const quiet = { logLevel: "error", logFormat: "text", drainTimeS: "0" } as const;
  // One of its listeners begins later than it is ready.
  const running = runProxy({ config: file, ...quiet, ...plane });
  return async () => await (await running).stop();
}

function bootstrapOf(control: number, apiType: string): object {
  const source = { ads: {}, resource_api_version: "V3" };
  const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
  const address = { socket_address: { address: "127.0.0.1", port_value: control } };
  return {
    node: { id: "sidecar-1", cluster: "test" },
    dynamic_resources: {
      lds_config: source,
      cds_config: source,
      ads_config: {
        api_type: apiType,
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
            [options]: {
              "@type": `type.googleapis.com/${options}`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: "control",
            endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
          },
        },
      ],
    },
  };
}

function without(name: string, { listeners = [], ...rest }: GoSnapshot): GoSnapshot {
  return { ...rest, listeners: listeners.filter((one) => !("name" in one && one.name === name)) };
}

function fault(name: string, status: number): object {
  return { name, typedConfig: faultConfig(status) };
}

function faultConfig(httpStatus: number): object {
  const percentage = { numerator: 100 };
  return { "@type": faultType, abort: { httpStatus, percentage } };
}

function snapshot(
  version: string,
  [bare, ready, late, ordinary]: readonly [number, number, number, number],
  extensions: readonly object[],
): GoSnapshot {
  const source = (wait: string): object => ({
    ads: {},
    resourceApiVersion: "V3",
    initialFetchTimeout: wait,
  });
  const found = (wait: string): object => ({
    configSource: source(wait),
    typeUrls: [faultType],
  });
  return {
    version,
    extensions,
    listeners: [
      listener("bare", bare, { configDiscovery: found("0s") }),
      listener("ready", ready, {
        configDiscovery: {
          ...found("0s"),
          defaultConfig: faultConfig(202),
          applyDefaultConfigWithoutWarming: true,
        },
      }),
      listener("late", late, {
        configDiscovery: { ...found("0.3s"), defaultConfig: faultConfig(203) },
      }),
      listener("ordinary", ordinary, undefined),
    ],
  };
}

function listener(name: string, port: number, filter: object | undefined): object {
  const answer = { match: { prefix: "/" }, directResponse: { status: 200 } };
  const manager = {
    "@type": url("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
    statPrefix: name,
    localReplyConfig: {
      bodyFormat: {
        textFormatSource: { inlineString: "%RESPONSE_FLAGS%" },
      },
    },
    routeConfig: { virtualHosts: [{ name: "all", domains: ["*"], routes: [answer] }] },
    httpFilters: [
      ...(filter === undefined ? [] : [{ name, ...filter }]),
      { name: "router", typedConfig: { "@type": routerType } },
    ],
  };
  return {
    name,
    address: { socketAddress: { address: "127.0.0.1", portValue: port } },
    filterChains: [{ filters: [{ name: "http", typedConfig: manager }] }],
  };
}

/** On a connection that stays. A listener that warms does not listen, or lets its clients wait. */
function ask(port: number, agent: Agent, tellsWhy = false): Promise<string> {
  return new Promise((resolve) => {
    const request = get({ port, host: "127.0.0.1", agent, timeout: 500 }, (response) => {
      let why = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (why += chunk));
      const { statusCode } = response;
      response.on("end", () => resolve(tellsWhy ? `${statusCode} ${why}` : String(statusCode)));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve("no answer"));
  });
}

/** What was expected, or the last answer of many. */
async function untilAnswer(port: number, expected: string, agent: Agent): Promise<string> {
  let answer = "";
  for (let tries = 0; tries < 200 && answer !== expected; tries++) {
    if (tries > 0) await new Promise((resolve) => setTimeout(resolve, 25));
    answer = await ask(port, agent);
  }
  return answer;
}
