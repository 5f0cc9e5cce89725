/** The addresses inside a mesh on one machine: workloads, services, the control plane. */
import { join } from "node:path";
import { readFileSync } from "node:fs";

import { declaredRanges } from "../base/service-ranges.ts";
import { replaceFile } from "./run/replace-file.ts";

export const meshRanges: Readonly<Record<"mesh" | "services", { ipv4: string; ipv6: string }>> = {
  mesh: { ipv4: "198.18.0.0/16", ipv6: "fd48:6564:646c:12::/64" },
  services: declaredRanges,
};

/** The bridge's own addresses: control plane, uplink and DNS relay listen here. */
export const edgeAddress = { ipv4: "198.18.0.1", ipv6: "fd48:6564:646c:12::1" } as const;

/** Interface id of a workload (`index` from 2): IPv4 first. */
export function workloadAddresses(index: number, hasIpv6: boolean): readonly string[] {
  return addressesAt(18, index, hasIpv6);
}

/** A service's virtual addresses. */
export function serviceAddresses(index: number, hasIpv6: boolean): readonly string[] {
  return addressesAt(19, index, hasIpv6);
}

function addressesAt(second: 18 | 19, index: number, hasIpv6: boolean): readonly string[] {
  const ipv4 = `198.${second}.${index >> 8}.${index & 255}`;
  const ipv6 = `fd48:6564:646c:${second === 18 ? "12" : "13"}::${index.toString(16)}`;
  return hasIpv6 ? [ipv4, ipv6] : [ipv4];
}

const indexMax = 65_533;

/**
 * Gives every name a small number and keeps it: over changes of the file, and over restarts, so that
 * addresses learned by long-lived clients stay true.
 */
export class AddressBook {
  readonly #numbers: Map<string, number>;
  readonly #used: Set<number>;
  readonly #first: number;

  constructor(first: number, known: Readonly<Record<string, number>> = {}) {
    this.#first = first;
    const sound = Object.entries(known).filter(
      ([, number]) => Number.isInteger(number) && number >= first && number <= indexMax,
    );
    this.#numbers = new Map(sound);
    this.#used = new Set(this.#numbers.values());
  }

  /** The number of `name`; new names get the lowest free one. Undefined when none is left. */
  numberOf(name: string): number | undefined {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    let number = this.#first;
    while (this.#used.has(number)) number += 1;
    if (number > indexMax) return undefined;
    this.#numbers.set(name, number);
    this.#used.add(number);
    return number;
  }

  /** Forgets every name that is not in `names`. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const [name, number] of this.#numbers) {
      if (names.has(name)) continue;
      this.#numbers.delete(name);
      this.#used.delete(number);
    }
  }

  toJSON(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#numbers);
  }
}

export interface AddressBooks {
  readonly instances: AddressBook;
  readonly services: AddressBook;
}

/** Reads the books of a state directory; unreadable ones start afresh. */
export function readAddressBooks(stateDir: string): AddressBooks {
  const [instances, services] = readSaved(join(stateDir, "addresses.json"));
  return { instances: new AddressBook(2, instances), services: new AddressBook(1, services) };
}

/** What each file holds, by its books: they are asked many times a second and change seldom. */
const lastSaved = new WeakMap<AddressBooks, string>();

export function saveAddressBooks(stateDir: string, books: AddressBooks): void {
  const text = JSON.stringify(books);
  if (lastSaved.get(books) === text) return;
  replaceFile(join(stateDir, "addresses.json"), text);
  lastSaved.set(books, text);
}

function readSaved(path: string): readonly Record<string, number>[] {
  try {
    const saved: unknown = JSON.parse(readFileSync(path, "utf8"));
    return ["instances", "services"].map((key) => numbersOf(saved, key));
  } catch {
    return [{}, {}]; // absent on first start; a torn file only costs stable addresses
  }
}

function numbersOf(saved: unknown, key: string): Record<string, number> {
  if (typeof saved !== "object" || saved === null) return {};
  const book: unknown = Reflect.get(saved, key);
  if (typeof book !== "object" || book === null) return {};
  const pairs = Object.entries(book).filter(
    (pair): pair is [string, number] => typeof pair[1] === "number",
  );
  return Object.fromEntries(pairs);
}
