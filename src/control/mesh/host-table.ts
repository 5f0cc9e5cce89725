/** What is written under names and wildcards (`a.b`, `*.b`, `*`), found by a name that they cover. */

export class HostTable<Item> {
  readonly #items = new Map<string, Item[]>();

  add(host: string, item: Item): void {
    const items = this.#items.get(host);
    if (items === undefined) this.#items.set(host, [item]);
    else items.push(item);
  }

  /** Under this very host. */
  at(host: string): readonly Item[] {
    return this.#items.get(host) ?? [];
  }

  /** Under the closest host that covers `hostname`, in the order of their coming; empty where none does. */
  closest(hostname: string): readonly Item[] {
    for (const pattern of patternsOver(hostname)) {
      const items = this.#items.get(pattern);
      if (items !== undefined) return items;
    }
    return [];
  }

  /** Under each host that covers `hostname`, the closest first. */
  *covering(hostname: string): Generator<{
    readonly host: string;
    readonly items: readonly Item[];
  }> {
    for (const host of patternsOver(hostname)) {
      const items = this.#items.get(host);
      if (items !== undefined) yield { host, items };
    }
  }
}

/** The hosts that cover `hostname`, as `hostMatches` says, the closest first. */
export function* patternsOver(hostname: string): Generator<string> {
  yield hostname;
  for (let dot = hostname.indexOf("."); dot >= 0; dot = hostname.indexOf(".", dot + 1)) {
    const pattern = `*${hostname.slice(dot)}`;
    if (pattern !== hostname) yield pattern;
  }
  if (hostname !== "*") yield "*";
}
