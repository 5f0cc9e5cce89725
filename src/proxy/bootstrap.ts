/**
 * An Envoy bootstrap file as configuration for this data plane: what stands in it (resources,
 * secrets, the admin address, who we are) and where the rest comes from. All that cannot be honoured
 * is told at once, each with its line; the file's listeners and clusters are checked further by
 * whoever compiles them, and `locate` gives the lines of what they refuse.
 */
import { fromBinary, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";

import { HeddleError, messageOf } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { SecretSource, TlsSecret } from "../net/secret-source.ts";
import {
  type Bootstrap,
  BootstrapSchema,
} from "../wire/gen/es/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { type Cluster, ClusterSchema } from "../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { NodeSchema } from "../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import { ListenerSchema } from "../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import {
  type Secret,
  SecretSchema,
} from "../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { registry } from "../wire/gen/es/registry.ts";
import { Bootstrap as BootstrapMessage } from "../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import type { Address } from "../wire/gen/ts/envoy/config/core/v3/address.ts";
import { Node } from "../wire/gen/ts/envoy/config/core/v3/base.ts";
import { typeUrls, type XdsFeed, type XdsResource } from "../xds/feed.ts";
import type { ProxyBootstrap } from "./admin.ts";
import { refuseContradictions } from "./bootstrap/contradictions.ts";
import { type DynamicPlan, planDynamic } from "./bootstrap/dynamic-plan.ts";
import { checkBootstrap } from "./bootstrap/honoured-bootstrap.ts";
import { internalBufferBytesOf } from "./bootstrap/internal-buffer.ts";
import { localClusterOf } from "./bootstrap/local-cluster.ts";
import { findJsonProblems } from "./bootstrap/json-problems.ts";
import { type FieldPath, lineOfPath, parseFieldPath, type PlacedNode } from "./bootstrap/places.ts";
import { pruneJson } from "./bootstrap/prune-json.ts";
import { readSecret } from "./bootstrap/secrets.ts";
import { servesGrpcAlone } from "./bootstrap/grpc-clusters.ts";
import { StaticFeed } from "./bootstrap/static-feed.ts";
import { watchLimitsOf } from "./bootstrap/watch-limits.ts";
import type { LocalCluster } from "./cluster/local-zones.ts";
import { inlineFiles } from "./config/inline-files.ts";
import type { MemoryBounds, OverloadPlan } from "./overload.ts";
import { compileOverload } from "./overload/compile.ts";
import type { RefusedResourceFields } from "./config.ts";
import { pipeAddress } from "./engine/pipe.ts";
import { refuse, RefusalList, type RefusedField } from "./engine/refusal.ts";
import type { WatchLimits } from "./workers/worker-watch.ts";

export type { PlacedNode };

export interface BootstrapConfig {
  /** What stands in the file, as a feed of its own. */
  readonly feed: XdsFeed;
  /** What stands in the file. */
  readonly secrets: SecretSource;
  readonly statics: ReadonlyMap<string, readonly XdsResource[]>;
  readonly staticSecrets: ReadonlyMap<string, TlsSecret>;
  readonly dynamic: DynamicPlan;
  /** All clusters of the file, also those that serve gRPC of our own alone. */
  readonly clusters: readonly Cluster[];
  readonly admin: SocketAddress | undefined;
  readonly node: Node;
  readonly nodeId: string;
  readonly bootstrap: ProxyBootstrap;
  /** Of its `cluster_manager`, where it names one. */
  readonly localCluster: LocalCluster | undefined;
  /** Of its internal listeners' extension, where that says it. */
  readonly internalBufferBytes: number | undefined;
  /** Of its `overload_manager`, where it has one. */
  readonly overload: OverloadPlan | undefined;
  /** Of its `watchdogs`, where it has one for workers. */
  readonly watch: WatchLimits | undefined;
}

export interface BootstrapFile {
  /** For messages. */
  readonly name: string;
  readonly text: string;
  /** YAML to plain JSON values; an error with js-yaml's `mark` gives its line. */
  readonly parseYaml: (text: string) => unknown;
  /** Reads a file that a data source names; throws when it cannot. */
  readonly readFile: (path: string) => Uint8Array;
  /** No limit unless told. */
  readonly bounds?: MemoryBounds;
  /** The same file with the lines of its nodes; asked for once something is wrong. */
  readonly readPlaces?: () => PlacedNode | undefined;
}

export interface BootstrapReading {
  /** Of what can be read; undefined where nothing can. */
  readonly config: BootstrapConfig | undefined;
  /** `file:line: path: reason`, in the file's order. */
  readonly problems: readonly string[];
  /** The same of what was refused as it was compiled. */
  readonly locate: (refused: readonly RefusedResourceFields[]) => readonly string[];
}

/** Throws `bootstrap.invalid` with a line for each problem: `file:line: path: reason`. */
export function parseBootstrap(file: BootstrapFile): BootstrapConfig {
  const { config, problems } = readBootstrap(file);
  if (config === undefined || problems.length > 0) {
    throw new HeddleError("bootstrap.invalid", problems.join("\n"));
  }
  return config;
}

export function readBootstrap(file: BootstrapFile): BootstrapReading {
  const places = new Places(file);
  const nowhere = { config: undefined, locate: () => [] };
  let json: unknown;
  try {
    json = file.parseYaml(file.text);
  } catch (thrown) {
    return { ...nowhere, problems: [`${file.name}:${lineOf(thrown)}: ${messageOf(thrown)}`] };
  }
  const broken: Located[] = [];
  const bootstrap = decode(json, file, broken);
  if (bootstrap === undefined) return { ...nowhere, problems: places.format(broken) };
  const refusals = new RefusalList();
  const config = configOf(bootstrap, refusals, file.bounds);
  const found = [...broken, ...without(located(refusals.fields), broken)];
  return {
    config: found.length === 0 ? config : { ...config, ...onlyLookedAt(config) },
    problems: places.format(found),
    locate: (refused) => places.format([...found, ...without(inStatics(refused, config), broken)]),
  };
}

/** What a file with mistakes is compiled as, to be told of more of them: nothing of it is bound. */
function onlyLookedAt({ statics }: BootstrapConfig): Pick<BootstrapConfig, "statics" | "dynamic"> {
  const listeners = (statics.get(typeUrls.listener) ?? []).map((resource) => {
    const listener = fromBinary(ListenerSchema, resource.bytes);
    return { ...resource, bytes: toBinary(ListenerSchema, { ...listener, bindToPort: false }) };
  });
  return {
    statics: new Map([...statics, [typeUrls.listener, listeners]]),
    dynamic: { ads: undefined, sources: new Map() },
  };
}

/** Of a file that is none of Envoy's at all. */
const toldMax = 100;

/** What could not be decoded is left out, so that the rest can be checked. */
function decode(json: unknown, file: BootstrapFile, broken: Located[]): Bootstrap | undefined {
  // The parser makes plain JSON values of a file without custom tags.
  const read = (value: unknown): Bootstrap => {
    const bootstrap = fromJson(BootstrapSchema, value as JsonValue, { registry });
    inlineFiles(bootstrap, { registry, readFile: file.readFile });
    return bootstrap;
  };
  try {
    return read(json);
  } catch (thrown) {
    broken.push(...findJsonProblems(BootstrapSchema, json, registry).slice(0, toldMax));
    if (broken.length === 0) {
      broken.push({ path: [], reason: messageOf(thrown) });
      return undefined;
    }
  }
  try {
    return read(
      pruneJson(
        json,
        broken.map(({ path }) => path),
      ),
    );
  } catch {
    return undefined; // what is wrong with it stands in `broken`
  }
}

function configOf(
  bootstrap: Bootstrap,
  refusals: RefusalList,
  bounds: MemoryBounds | undefined,
): BootstrapConfig {
  const message = BootstrapMessage.decode(toBinary(BootstrapSchema, bootstrap));
  refusals.attempt(() => checkBootstrap(message));
  refuseContradictions(message, refusals);
  const dynamic = refusals.attempt(() => planDynamic(bootstrap)) ?? {
    ads: undefined,
    sources: new Map(),
  };
  const statics = staticsOf(bootstrap);
  const staticSecrets = readSecrets(bootstrap.staticResources?.secrets ?? [], refusals);
  const admin = refusals.attempt(() => adminOf(message.admin?.address));
  return {
    feed: new StaticFeed(statics),
    secrets: { get: (name) => staticSecrets.get(name), onChange: () => () => undefined },
    statics,
    staticSecrets,
    dynamic,
    clusters: bootstrap.staticResources?.clusters ?? [],
    admin,
    node: nodeOf(bootstrap),
    nodeId: bootstrap.node?.id ?? "",
    bootstrap: {
      kind: dynamic.ads === undefined && dynamic.sources.size === 0 ? "static" : "dynamic",
      json: toJson(BootstrapSchema, bootstrap, { registry, useProtoFieldName: true }),
    },
    localCluster: refusals.attempt(() => localClusterOf(message)),
    internalBufferBytes: refusals.attempt(() => internalBufferBytesOf(message)),
    overload: refusals.attempt(() => compileOverload(bootstrap.overloadManager, bounds)),
    watch: watchLimitsOf(message),
  };
}

function adminOf(address: Address | undefined): SocketAddress | undefined {
  if (address === undefined) return undefined;
  const { socketAddress: socket, pipe } = address;
  if (pipe !== undefined) {
    // Who may ask it may do everything: what is made is its owner's alone.
    if (pipe.path.startsWith("@"))
      refuse("admin.address.pipe.path", "an abstract name is anybody's");
    if (pipe.mode !== 0 && pipe.mode !== 0o600) {
      refuse("admin.address.pipe.mode", "is not supported: it is its owner's alone");
    }
    return pipeAddress(pipe, "admin.address");
  }
  if (socket === undefined)
    return refuse("admin.address", "must be an address with a port, or a pipe");
  return socket.portValue === undefined
    ? undefined
    : { address: socket.address, port: socket.portValue };
}

function staticsOf(bootstrap: Bootstrap): BootstrapConfig["statics"] {
  const { clusters = [], listeners = [] } = bootstrap.staticResources ?? {};
  return new Map([
    [
      typeUrls.cluster,
      clusters
        .filter((cluster) => !servesGrpcAlone(cluster, bootstrap))
        .map((cluster) => ({
          name: cluster.name,
          version: "static",
          bytes: toBinary(ClusterSchema, cluster),
        })),
    ],
    [
      typeUrls.listener,
      listeners.map((listener, i) => ({
        name: nameOfListener(listener.name, i),
        version: "static",
        bytes: toBinary(ListenerSchema, listener),
      })),
    ],
  ]);
}

function nameOfListener(name: string, index: number): string {
  return name === "" ? `listener_${index}` : name;
}

function nodeOf({ node }: Bootstrap): Node {
  const known = node === undefined ? Node.fromPartial({}) : Node.decode(toBinary(NodeSchema, node));
  return { ...known, userAgentName: "heddle" };
}

function readSecrets(
  secrets: readonly Secret[],
  refusals: RefusalList,
): ReadonlyMap<string, TlsSecret> {
  return new Map(
    secrets.flatMap((secret, i) => {
      const resource = { name: secret.name, bytes: toBinary(SecretSchema, secret) };
      const read = refusals.attempt(() => readSecret(resource), `static_resources.secrets[${i}]`);
      return read === undefined ? [] : [[secret.name, read]];
    }),
  );
}

interface Located {
  readonly path: FieldPath;
  readonly reason: string;
}

function located(fields: readonly RefusedField[]): Located[] {
  return fields.map(({ path, reason }) => ({ path: parseFieldPath(path), reason }));
}

const staticLists = new Map([
  [typeUrls.cluster as string, "clusters"],
  [typeUrls.listener as string, "listeners"],
]);

function inStatics(
  refused: readonly RefusedResourceFields[],
  { clusters, statics }: BootstrapConfig,
): Located[] {
  return refused.flatMap(({ typeUrl, name, fields }) => {
    const list = staticLists.get(typeUrl);
    const names = typeUrl === typeUrls.cluster ? clusters : (statics.get(typeUrl) ?? []);
    const at = names.findIndex((one) => one.name === name);
    const place = list === undefined || at < 0 ? [name] : ["static_resources", list, at];
    return located(fields).map(({ path, reason }) => ({ path: [...place, ...path], reason }));
  });
}

/** What a broken field leaves behind where it was left out is nothing to tell of. */
function without(problems: readonly Located[], broken: readonly Located[]): readonly Located[] {
  return problems.filter(
    ({ path }) =>
      !broken.some((one) => one.path.every((step, i) => i >= path.length || step === path[i])),
  );
}

function lineOf(thrown: unknown): number {
  if (!(thrown instanceof Error) || !("mark" in thrown)) return 1;
  const { mark } = thrown;
  if (typeof mark !== "object" || mark === null || !("line" in mark)) return 1;
  return Number(mark.line) + 1;
}

/** Where things stand in the file; without its nodes, the first line with a field's name. */
class Places {
  readonly #file: BootstrapFile;
  #root: PlacedNode | undefined;

  constructor(file: BootstrapFile) {
    this.#file = file;
  }

  format(problems: readonly Located[]): readonly string[] {
    if (problems.length > 0) this.#root ??= this.#file.readPlaces?.();
    const lines = problems.map(({ path, reason }) => {
      const line = this.#lineOf(path);
      const place = formatPath(path);
      const text = place === "" ? reason : `${place}: ${reason}`;
      return { line, text: `${this.#file.name}:${line}: ${text}` };
    });
    return [...new Set(lines.toSorted((a, b) => a.line - b.line).map(({ text }) => text))];
  }

  #lineOf(path: FieldPath): number {
    if (this.#root !== undefined) return lineOfPath(this.#root, path);
    const name = path.findLast((step) => typeof step === "string");
    if (name === undefined) return 1;
    const at = this.#file.text.split("\n").findIndex((line) => line.includes(String(name)));
    return Math.max(0, at) + 1;
  }
}

function formatPath(path: FieldPath): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number" || step.includes(".")) text += `[${step}]`;
    else text += text === "" ? step : `.${step}`;
  }
  return text;
}
