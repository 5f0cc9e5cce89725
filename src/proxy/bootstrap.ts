/**
 * An Envoy bootstrap file as configuration for this data plane: its static resources as a feed, its
 * inline secrets, its admin address. Dynamic resources are refused: whoever has a control plane
 * starts a sidecar instead.
 */
import { fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";

import { HeddleError, messageOf } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { SecretSource, TlsSecret } from "../net/secret-source.ts";
import {
  type Bootstrap,
  BootstrapSchema,
} from "../wire/gen/es/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { ClusterSchema } from "../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import type { DataSource } from "../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import { ListenerSchema } from "../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import type { Secret } from "../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { registry } from "../wire/gen/es/registry.ts";
import { typeUrls, type XdsFeed, type XdsResource, type XdsUpdate } from "../xds/feed.ts";
import type { ProxyBootstrap } from "./admin.ts";
import { inlineFiles } from "./config/inline-files.ts";
import type { MemoryBounds, OverloadPlan } from "./overload.ts";
import { compileOverload } from "./overload/compile.ts";

export interface BootstrapConfig {
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  readonly admin: SocketAddress | undefined;
  readonly nodeId: string;
  readonly bootstrap: ProxyBootstrap;
  /** Of its `overload_manager`, where it has one. */
  readonly overload: OverloadPlan | undefined;
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
}

/** Throws `bootstrap.invalid` with `file:line: reason`. */
export function parseBootstrap(file: BootstrapFile): BootstrapConfig {
  const bootstrap = decode(file);
  if (bootstrap.dynamicResources !== undefined) {
    throw invalid(file, "dynamic_resources", "dynamic_resources is not supported here");
  }
  const statics = bootstrap.staticResources;
  const clusters = (statics?.clusters ?? []).map((cluster) => ({
    name: cluster.name,
    version: "static",
    bytes: toBinary(ClusterSchema, cluster),
  }));
  const listeners = (statics?.listeners ?? []).map((listener, i) => ({
    name: listener.name === "" ? `listener_${i}` : listener.name,
    version: "static",
    bytes: toBinary(ListenerSchema, listener),
  }));
  const admin = bootstrap.admin?.address?.address;
  return {
    feed: new StaticFeed(
      new Map([
        [typeUrls.cluster, clusters],
        [typeUrls.listener, listeners],
      ]),
    ),
    secrets: staticSecrets(statics?.secrets ?? []),
    admin:
      admin?.case === "socketAddress" && admin.value.portSpecifier.case === "portValue"
        ? { address: admin.value.address, port: admin.value.portSpecifier.value }
        : undefined,
    nodeId: bootstrap.node?.id ?? "",
    bootstrap: {
      kind: "static",
      json: toJson(BootstrapSchema, bootstrap, { registry, useProtoFieldName: true }),
    },
    overload: overloadOf(file, bootstrap),
  };
}

function overloadOf(file: BootstrapFile, bootstrap: Bootstrap): OverloadPlan | undefined {
  try {
    return compileOverload(bootstrap.overloadManager, file.bounds);
  } catch (thrown) {
    throw invalid(file, "overload_manager", messageOf(thrown));
  }
}

function decode(file: BootstrapFile): Bootstrap {
  let json: unknown;
  try {
    json = file.parseYaml(file.text);
  } catch (thrown) {
    throw new HeddleError(
      "bootstrap.invalid",
      `${file.name}:${lineOf(thrown)}: ${messageOf(thrown)}`,
    );
  }
  try {
    // The parser makes plain JSON values of a file without custom tags.
    const bootstrap = fromJson(BootstrapSchema, json as JsonValue, { registry });
    inlineFiles(bootstrap, { registry, readFile: file.readFile });
    return bootstrap;
  } catch (thrown) {
    const reason = messageOf(thrown);
    const named = /key "([^"]+)"/.exec(reason)?.[1] ?? /field \S+\.(\w+)/.exec(reason)?.[1] ?? "";
    throw invalid(file, named, reason);
  }
}

function lineOf(thrown: unknown): number {
  if (!(thrown instanceof Error) || !("mark" in thrown)) return 1;
  const { mark } = thrown;
  if (typeof mark !== "object" || mark === null || !("line" in mark)) return 1;
  return Number(mark.line) + 1;
}

/** The decoder knows fields, not places: the first line with the field's name is the best guess. */
function invalid(file: BootstrapFile, field: string, reason: string): HeddleError {
  const snake = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const lines = file.text.split("\n");
  const at = lines.findIndex(
    (line) => field !== "" && (line.includes(field) || line.includes(snake)),
  );
  return new HeddleError("bootstrap.invalid", `${file.name}:${Math.max(0, at) + 1}: ${reason}`);
}

/** Answers each subscription once, with what the file holds. */
class StaticFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => undefined;
  readonly #resources: ReadonlyMap<string, readonly XdsResource[]>;
  /** What was refused, for whoever started with the file. */
  readonly refusals: string[] = [];

  constructor(resources: ReadonlyMap<string, readonly XdsResource[]>) {
    this.#resources = resources;
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    const all = this.#resources.get(typeUrl) ?? [];
    const resources = names === "*" ? all : all.filter(({ name }) => names.has(name));
    const found = new Set(resources.map(({ name }) => name));
    const removed = names === "*" ? [] : [...names].filter((name) => !found.has(name));
    this.onUpdate({
      typeUrl,
      resources,
      removed,
      respond: (refusal) => {
        if (refusal !== undefined) this.refusals.push(refusal);
      },
    });
  }
}

function staticSecrets(secrets: readonly Secret[]): SecretSource {
  const byName = new Map<string, TlsSecret>();
  for (const { name, type } of secrets) {
    if (type.case === "tlsCertificate") {
      byName.set(name, {
        kind: "certificate",
        chainPem: sourceText(type.value.certificateChain),
        privateKeyPem: sourceText(type.value.privateKey),
      });
    } else if (type.case === "validationContext") {
      byName.set(name, {
        kind: "validation",
        trustedCaPem: sourceText(type.value.trustedCa),
      });
    }
  }
  return { get: (name) => byName.get(name), onChange: () => () => undefined };
}

function sourceText(source: DataSource | undefined): string {
  const specifier = source?.specifier;
  if (specifier?.case === "inlineString") return specifier.value;
  if (specifier?.case === "inlineBytes") return Buffer.from(specifier.value).toString();
  return "";
}
