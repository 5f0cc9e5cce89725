/**
 * Which virtual host an authority belongs to: exact, then the longest `*suffix`, then the longest
 * `prefix*`, then `*`. Letter case does not matter; a wildcard never stands for nothing.
 */
import { refuse } from "./refusal.ts";
import { lowerAscii } from "./string-matcher.ts";

export interface DomainTable<T> {
  find(authority: string): T | undefined;
}

export interface DomainEntry<T> {
  readonly domains: readonly string[];
  readonly value: T;
  readonly path: string;
}

interface Wildcards<T> {
  readonly values: ReadonlyMap<string, T>;
  /** Distinct lengths, longest first: only these are probed. */
  readonly lengths: readonly number[];
}

export function compileDomains<T>(
  entries: readonly DomainEntry<T>[],
  ignorePort: boolean,
): DomainTable<T> {
  const exact = new Map<string, T>();
  const suffixes = new Map<string, T>();
  const prefixes = new Map<string, T>();
  let fallback: T | undefined;
  for (const { domains, value, path } of entries) {
    for (const domain of domains.map(lowerAscii)) {
      const [table, key] = place(domain, { exact, suffixes, prefixes }, path);
      if (domain === "*") {
        if (fallback !== undefined) refuse(`${path}.domains`, "'*' is in two virtual hosts");
        fallback = value;
      } else {
        if (table.has(key)) refuse(`${path}.domains`, `'${domain}' occurs twice`);
        table.set(key, value);
      }
    }
  }
  const bySuffix = wildcards(suffixes);
  const byPrefix = wildcards(prefixes);
  return {
    find(authority) {
      // As most clients write it, without a copy in lower case.
      const asWritten = ignorePort ? undefined : exact.get(authority);
      if (asWritten !== undefined) return asWritten;
      const host = lowerAscii(ignorePort ? withoutPort(authority) : authority);
      const found = exact.get(host);
      if (found !== undefined) return found;
      for (const length of bySuffix.lengths) {
        if (length >= host.length) continue;
        const value = bySuffix.values.get(host.slice(host.length - length));
        if (value !== undefined) return value;
      }
      for (const length of byPrefix.lengths) {
        if (length >= host.length) continue;
        const value = byPrefix.values.get(host.slice(0, length));
        if (value !== undefined) return value;
      }
      return fallback;
    },
  };
}

interface Tables<T> {
  readonly exact: Map<string, T>;
  readonly suffixes: Map<string, T>;
  readonly prefixes: Map<string, T>;
}

function place<T>(domain: string, tables: Tables<T>, path: string): [Map<string, T>, string] {
  const star = domain.indexOf("*");
  if (star < 0) return [tables.exact, domain];
  if (domain.indexOf("*", star + 1) >= 0) refuse(`${path}.domains`, `'${domain}' has two stars`);
  if (star === 0) return [tables.suffixes, domain.slice(1)];
  if (star === domain.length - 1) return [tables.prefixes, domain.slice(0, -1)];
  return refuse(`${path}.domains`, `'${domain}': the star may stand only first or last`);
}

function wildcards<T>(values: ReadonlyMap<string, T>): Wildcards<T> {
  const lengths = [...new Set([...values.keys()].map((key) => key.length))];
  return { values, lengths: lengths.toSorted((a, b) => b - a) };
}

/** `[::1]:80` → `[::1]`; an address without brackets keeps its colons. */
export function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(":");
  if (colon < 0) return authority;
  const host = authority.slice(0, colon);
  if (host.includes(":") && !host.endsWith("]")) return authority;
  return /^[0-9]*$/.test(authority.slice(colon + 1)) ? host : authority;
}
