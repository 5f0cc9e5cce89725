/**
 * Resources of one type from a file, as Envoy's `path_config_source`: a DiscoveryResponse in YAML or
 * JSON, read again whenever another file is moved into its place.
 */
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";

import { HeddleError, messageOf } from "../../base/error.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { DiscoveryResponseSchema } from "../../wire/gen/es/envoy/service/discovery/v3/discovery_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";
import type { XdsFeed, XdsResource, XdsUpdate } from "../../xds/feed.ts";

export interface FileFeedOptions {
  readonly path: string;
  readonly parseYaml: (text: string) => unknown;
  readonly readText: (path: string) => string;
  /** Calls back when the file may have changed; returns how to stop. */
  readonly watch: (path: string, onChange: () => void) => () => void;
  readonly log: Logger;
}

export class FileFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => undefined;
  readonly #options: FileFeedOptions;
  readonly #wishes = new Map<string, "*" | ReadonlySet<string>>();
  /** Per type: what was sent last. */
  readonly #sent = new Map<string, ReadonlySet<string>>();
  #version = 0;
  #text: string | undefined;
  #stop: (() => void) | undefined;

  constructor(options: FileFeedOptions) {
    this.#options = options;
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    this.#wishes.set(typeUrl, names);
    this.#stop ??= this.#options.watch(this.#options.path, () => this.#read(false));
    this.#read(true);
  }

  close(): void {
    this.#stop?.();
  }

  /** A file that cannot be read or decoded leaves what there was. */
  #read(isAsked: boolean): void {
    const { path, log, readText } = this.#options;
    try {
      const text = readText(path);
      if (text === this.#text && !isAsked) return;
      this.#text = text;
      this.#version += 1;
      for (const typeUrl of this.#wishes.keys())
        this.#send(typeUrl, this.#resources(text, typeUrl));
    } catch (thrown) {
      log.error("resources of a file cannot be read", { path, reason: messageOf(thrown) });
    }
  }

  #send(typeUrl: string, all: readonly XdsResource[]): void {
    const wish = this.#wishes.get(typeUrl) ?? new Set();
    const resources = wish === "*" ? all : all.filter(({ name }) => wish.has(name));
    const names = new Set(resources.map(({ name }) => name));
    const removed = [...(this.#sent.get(typeUrl) ?? [])].filter((name) => !names.has(name));
    this.#sent.set(typeUrl, names);
    this.onUpdate({
      typeUrl,
      version: String(this.#version),
      resources,
      removed,
      respond: (refusal) => {
        if (refusal === undefined) return;
        this.#options.log.error("resources of a file were refused", {
          path: this.#options.path,
          reason: refusal,
        });
      },
    });
  }

  #resources(text: string, typeUrl: string): readonly XdsResource[] {
    // The parser makes plain JSON values of a file without custom tags.
    const json = this.#options.parseYaml(text) as JsonValue;
    const { resources } = fromJson(DiscoveryResponseSchema, json, { registry });
    return resources
      .filter((any) => any.typeUrl === typeUrl)
      .map((any, i) => ({
        name: nameOf(any, `${this.#options.path}: resources[${i}]`),
        version: String(this.#version),
        bytes: any.value,
      }));
  }
}

function nameOf(any: Any, place: string): string {
  const message = anyUnpack(any, registry);
  const { name } = { name: "", ...(message as { readonly name?: unknown } | undefined) };
  if (typeof name === "string" && name !== "") return name;
  throw new HeddleError("bootstrap.invalid", `${place}: a resource without a name`);
}
