/**
 * Which virtual host an authority belongs to: exact, then the longest `*suffix`, then the longest
 * `prefix*`, then `*`. Letter case does not matter; a wildcard never stands for nothing.
 */
import { refuse } from "./refusal.ts";
import { lowerAscii } from "./text-test.ts";

export interface DomainTable<T> {
  find(authority: string): T | undefined;
}

export interface DomainEntry<T> {
  readonly domains: readonly string[];
  readonly value: T;
  readonly path: string;
}

/** Takes virtual hosts one by one, so that many need not be taken in one go. */
export class DomainTableBuilder<T> {
  readonly #exact = new Map<string, T>();
  readonly #suffixes = new Wildcards<T>();
  readonly #prefixes = new Wildcards<T>();
  #fallback: T | undefined;

  /** Throws a refusal. */
  add({ domains, value, path }: DomainEntry<T>): void {
    for (const domain of domains.map(lowerAscii)) {
      if (domain === "*") {
        if (this.#fallback !== undefined) refuse(`${path}.domains`, "'*' is in two virtual hosts");
        this.#fallback = value;
        continue;
      }
      const star = domain.indexOf("*");
      const isNew =
        star < 0
          ? add(this.#exact, domain, value)
          : wildcardOf(domain, path) === "suffix"
            ? this.#suffixes.add(domain.slice(1), value)
            : this.#prefixes.add(domain.slice(0, -1), value);
      if (!isNew) refuse(`${path}.domains`, `'${domain}' occurs twice`);
    }
  }

  build(ignorePort: boolean): DomainTable<T> {
    const exact = this.#exact;
    const suffixes = this.#suffixes;
    const prefixes = this.#prefixes;
    const fallback = this.#fallback;
    const suffixLengths = suffixes.longestFirst();
    const prefixLengths = prefixes.longestFirst();
    return {
      find(authority) {
        // As most clients write it, without a copy in lower case.
        const asWritten = ignorePort ? undefined : exact.get(authority);
        if (asWritten !== undefined) return asWritten;
        const host = lowerAscii(ignorePort ? withoutPort(authority) : authority);
        const found = exact.get(host);
        if (found !== undefined) return found;
        for (const length of suffixLengths) {
          if (length >= host.length) continue;
          const value = suffixes.values.get(host.slice(host.length - length));
          if (value !== undefined) return value;
        }
        for (const length of prefixLengths) {
          if (length >= host.length) continue;
          const value = prefixes.values.get(host.slice(0, length));
          if (value !== undefined) return value;
        }
        return fallback;
      },
    };
  }
}

class Wildcards<T> {
  readonly values: Map<string, T> = new Map();
  readonly #lengths = new Set<number>();

  add(text: string, value: T): boolean {
    this.#lengths.add(text.length);
    return add(this.values, text, value);
  }

  /** Distinct lengths: only these are probed. */
  longestFirst(): readonly number[] {
    return [...this.#lengths].toSorted((a, b) => b - a);
  }
}

function add<T>(table: Map<string, T>, key: string, value: T): boolean {
  if (table.has(key)) return false;
  table.set(key, value);
  return true;
}

function wildcardOf(domain: string, path: string): "suffix" | "prefix" {
  const star = domain.indexOf("*");
  if (domain.indexOf("*", star + 1) >= 0) refuse(`${path}.domains`, `'${domain}' has two stars`);
  if (star === 0) return "suffix";
  if (star === domain.length - 1) return "prefix";
  return refuse(`${path}.domains`, `'${domain}': the star may stand only first or last`);
}

/** `[::1]:80` → `[::1]`; an address without brackets keeps its colons. */
export function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(":");
  if (colon < 0) return authority;
  const host = authority.slice(0, colon);
  if (host.includes(":") && !host.endsWith("]")) return authority;
  return /^[0-9]*$/.test(authority.slice(colon + 1)) ? host : authority;
}
