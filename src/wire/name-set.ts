/**
 * Lower-case header names that are looked for together: one look at each field of a head, whose hash is
 * known, instead of a walk over all fields for each name.
 */
import { type Http1Head } from "./http1-head.ts";
import { hashName } from "./http1-tables.ts";

const markMask = 255;

export class NameSet {
  readonly #names: ReadonlySet<string>;
  readonly #byHash = new Map<number, string[]>();
  /** 1 where the hash of one of the names ends in these bits: most fields are done with here. */
  readonly #marks = new Uint8Array(markMask + 1);

  constructor(names: readonly string[]) {
    this.#names = new Set(names);
    for (const name of this.#names) {
      const hash = hashName(name);
      this.#marks[hash & markMask] = 1;
      const others = this.#byHash.get(hash);
      if (others === undefined) this.#byHash.set(hash, [name]);
      else others.push(name);
    }
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** Forgets every field of a head with one of the names. */
  dropFrom(head: Http1Head): void {
    const { hashes, dropped, count } = head;
    for (let field = 0; field < count; field++) {
      const hash = hashes[field] ?? 0;
      if (this.#marks[hash & markMask] === 0 || dropped[field] !== 0) continue;
      const names = this.#byHash.get(hash);
      if (names !== undefined && isOneOf(names, head, field)) dropped[field] = 1;
    }
  }
}

/** Names may share a hash. */
function isOneOf(names: readonly string[], head: Http1Head, field: number): boolean {
  for (const name of names) if (head.isName(field, name)) return true;
  return false;
}
