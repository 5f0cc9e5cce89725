/**
 * Endpoints that requests name themselves (`envoy.load_balancing_policies.override_host`): in a header, or in
 * metadata that a filter has set, one after another for each attempt. As in Envoy whatever is known of their
 * health; where none of the named is there, or all have had their turn, another policy chooses.
 */
import { formatSocketAddress } from "../../base/socket-address.ts";
import type {
  OverrideHost,
  OverrideHost_OverrideHostSource as Source,
} from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/override_host/v3/override_host.ts";
import { metadataAt } from "../engine/metadata-matcher.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { NamedHosts, WantedServer } from "../engine/wanted-server.ts";
import { compileMetadataKey } from "./discovery.ts";
import type { Endpoint } from "./endpoint.ts";

type MetadataPath = NonNullable<ReturnType<typeof compileMetadataKey>>;

export interface OverrideHostsPlan {
  /** What each source names, separated by commas; undefined: nothing. */
  readonly sources: readonly ((wanted: WantedServer) => string | undefined)[];
  /** Where the request's metadata says which endpoint it got. */
  readonly told: MetadataPath | undefined;
}

export function compileOverrideHosts(config: OverrideHost, path: string): OverrideHostsPlan {
  const { overrideHostSources, selectedHostKey } = config;
  if (overrideHostSources.length === 0) refuse(`${path}.override_host_sources`, "is required");
  return {
    sources: overrideHostSources.map((source, i) =>
      compileSource(source, `${path}.override_host_sources[${i}]`),
    ),
    told: compileMetadataKey(selectedHostKey, `${path}.selected_host_key`),
  };
}

function compileSource(
  { header, metadata }: Source,
  path: string,
): OverrideHostsPlan["sources"][number] {
  if (header !== "" && metadata !== undefined) refuse(path, "has a header beside metadata");
  if (header !== "") {
    const name = lowerAscii(header);
    return (wanted) => wanted.firstLine(name);
  }
  const key = compileMetadataKey(metadata, `${path}.metadata`);
  if (key === undefined) return refuse(path, "has neither a header nor metadata");
  const [namespace, ...keys] = key;
  return (wanted) => {
    const found = metadataAt(wanted.metadata, namespace, keys);
    return typeof found === "string" ? found : undefined;
  };
}

/** The next one that the request names and that `find` knows. */
export function overridingHost(
  { sources }: OverrideHostsPlan,
  wanted: WantedServer,
  find: (host: string) => Endpoint | undefined,
): Endpoint | undefined {
  const hosts = (wanted.namedHosts ??= new HostList(sources.map((source) => source(wanted))));
  for (let host = hosts.next(); host !== undefined; host = hosts.next()) {
    const endpoint = find(host);
    if (endpoint !== undefined) return endpoint;
  }
  return undefined;
}

/** The request's metadata says which endpoint it gets. */
export function tellSelected(
  { told }: OverrideHostsPlan,
  wanted: WantedServer,
  { address }: Endpoint,
): void {
  if (told === undefined) return;
  const [namespace, ...keys] = told;
  const [first = "", ...inner] = keys;
  const text = formatSocketAddress(address);
  const value = inner.reduceRight<unknown>((value, key) => ({ [key]: value }), text);
  wanted.addMetadata(namespace, { [first]: value });
}

/** Of one request, in the order in which they are named. */
class HostList implements NamedHosts {
  readonly #hosts: readonly string[];
  #next = 0;

  constructor(texts: readonly (string | undefined)[]) {
    this.#hosts = texts
      .flatMap((text) => text?.split(",") ?? [])
      .map((host) => host.trim())
      .filter((host) => host !== "");
  }

  next(): string | undefined {
    return this.#hosts[this.#next++];
  }
}
