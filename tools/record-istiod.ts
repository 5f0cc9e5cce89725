/**
 * Asks an unmodified istiod (its Go module's own xDS server) for the resources of the sidecars in
 * test/conformance/istiod and writes them beside: `node tools/record-istiod.ts`. The first time it
 * builds the server, about eight minutes of two cores, which is why the tests use what it wrote.
 *
 * The module's newest contrib types are not published: imports that only register them are left out.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

import { fromBinary, type JsonValue, toJson } from "@bufbuild/protobuf";

import { systemClock } from "../src/base/clock.ts";
import { openGrpcChannel } from "../src/net/grpc-client.ts";
import { defaultGrpcKeepalive } from "../src/net/grpc.ts";
import { registry } from "../src/wire/gen/es/registry.ts";
import { Node } from "../src/wire/gen/ts/envoy/config/core/v3/base.ts";
import { AdsClient } from "../src/xds/ads-client.ts";
import { typeUrls } from "../src/xds/feed.ts";
import { type IstioNode, istioNodes } from "../test/conformance/istiod/nodes.ts";
import { silentLog } from "../test/support/silent-log.ts";
import { buildGo } from "./go.ts";

const folder = "test/conformance/istiod";
const cache = resolve(".cache/istiod");
const istioModule = "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad";
const contrib = "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/";
const unpublished = [
  "filters/http/peak_ewma/",
  "filters/http/peer_metadata/",
  "filters/listener/postgres_inspector/",
  "filters/network/metadata_exchange/",
  "filters/network/peer_metadata/",
  "load_balancing_policies/peak_ewma/",
  "private_key_providers/kae/",
  "reverse_tunnel_reporters/",
  "stat_sinks/kafka/",
  "stat_sinks/wasm_filter/",
].map((path) => contrib + path);

/** Sidecars that speak HBONE, on both sides, are asked for of an istiod that may tell them to. */
const hbone = {
  PILOT_ENABLE_AMBIENT: "true",
  PILOT_ENABLE_SENDING_HBONE: "true",
  PILOT_PREFER_SENDING_HBONE: "true",
};
const speaks = ({ metadata }: IstioNode): boolean => metadata["ENABLE_HBONE"] === "true";

await recordAll(
  istioNodes.filter((node) => !speaks(node)),
  {},
);
await recordAll(istioNodes.filter(speaks), hbone);

async function recordAll(
  nodes: readonly IstioNode[],
  environment: Readonly<Record<string, string>>,
): Promise<void> {
  const child = spawn(
    build(),
    ["-config", join(folder, "config.yaml"), "-mesh", join(folder, "mesh.yaml")],
    { stdio: ["pipe", "pipe", "ignore"], env: { ...process.env, ...environment } },
  );
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    // Its log goes the same way.
    const [, port] = /^127\.0\.0\.1:(\d+)$/.exec(line) ?? [];
    if (port === undefined) continue;
    for (const node of nodes) await record(node, Number(port));
    break;
  }
  child.kill();
}

/** The server's path. */
function build(): string {
  const binary = join(cache, "server");
  if (existsSync(binary)) return binary;
  const { stdout } = spawnSync("go", ["mod", "download", "-json", istioModule], {
    encoding: "utf8",
  });
  const source: string = JSON.parse(stdout).Dir;
  const copy = join(cache, "istio");
  mkdirSync(cache, { recursive: true });
  cpSync(source, copy, { recursive: true });
  spawnSync("chmod", ["-R", "u+w", copy]);
  const types = join(copy, "pkg/config/xds/filter_types.gen.go");
  const kept = readFileSync(types, "utf8")
    .split("\n")
    .filter((line) => !unpublished.some((path) => line.includes(path)));
  writeFileSync(types, kept.join("\n"));
  buildGo({ folder: join(folder, "server"), package: ".", binary }, () => {
    throw new Error("Go is missing");
  });
  return binary;
}

/** Asks as a sidecar does, follows the names in what comes, and writes it all as Envoy's JSON. */
async function record(node: IstioNode, port: number): Promise<void> {
  const channel = openGrpcChannel({
    target: { address: "127.0.0.1", port },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const { id, metadata } = node;
  const client = new AdsClient({
    channel,
    serverName: "istiod",
    node: Node.fromPartial({ id, metadata: { ...metadata } }),
    clock: systemClock,
    log: silentLog,
  });
  const found: Record<string, Record<string, JsonValue>> = {};
  const arrived = new Map<string, () => void>();
  client.onUpdate = (update) => {
    const { typeUrl, resources } = update;
    const type = registry.getMessage(typeUrl.slice(typeUrl.indexOf("/") + 1));
    if (type === undefined) throw new Error(`${typeUrl} is not known`);
    const all = resources.map(({ name, bytes }): [string, JsonValue] => [
      name,
      toJson(type, fromBinary(type, bytes), { registry }),
    ]);
    found[typeUrl] = Object.fromEntries(all.toSorted(([a], [b]) => (a < b ? -1 : 1)));
    update.respond();
    arrived.get(typeUrl)?.();
  };
  const ask = async (typeUrl: string, names: "*" | ReadonlySet<string>): Promise<void> => {
    if (names !== "*" && names.size === 0) return;
    const { promise, resolve: settle } = Promise.withResolvers<void>();
    arrived.set(typeUrl, settle);
    client.subscribe(typeUrl, names);
    await promise;
  };
  client.start();
  await ask(typeUrls.cluster, "*");
  await ask(typeUrls.endpoint, namesIn(found[typeUrls.cluster], "serviceName"));
  await ask(typeUrls.listener, "*");
  await ask(typeUrls.route, namesIn(found[typeUrls.listener], "routeConfigName"));
  client.close();
  channel.close();
  const file = join(folder, `${node.name}.json`);
  writeFileSync(file, `${JSON.stringify(found, undefined, 1)}\n`);
  const counts = Object.values(found).map((all) => Object.keys(all).length);
  console.log(`${file}: ${counts.join(", ")} resources`);
}

function namesIn(value: unknown, field: string): ReadonlySet<string> {
  const names = new Set<string>();
  JSON.stringify(value, (key, inner: unknown) => {
    if (key === field && typeof inner === "string") names.add(inner);
    return inner;
  });
  return names;
}
