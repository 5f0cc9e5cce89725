/** Answers each subscription once, with what a file holds. */
import type { XdsFeed, XdsResource, XdsUpdate } from "../../xds/feed.ts";

export class StaticFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => undefined;
  readonly #resources: ReadonlyMap<string, readonly XdsResource[]>;

  constructor(resources: ReadonlyMap<string, readonly XdsResource[]>) {
    this.#resources = resources;
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    const all = this.#resources.get(typeUrl) ?? [];
    const resources = names === "*" ? all : all.filter(({ name }) => names.has(name));
    const found = new Set(resources.map(({ name }) => name));
    const removed = names === "*" ? [] : [...names].filter((name) => !found.has(name));
    // Who refuses something of a file tells whoever started with it: nobody else waits for it.
    this.onUpdate({ typeUrl, resources, removed, respond: () => undefined });
  }
}
