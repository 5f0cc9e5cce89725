/** Makes an input out of others: bytes changed, runs moved, words of the protocol put in. */
import type { Random } from "./random.ts";

export interface Ingredients {
  readonly corpus: readonly Buffer[];
  /** Words of the protocol. */
  readonly tokens: readonly Buffer[];
  readonly bytesMax: number;
}

type Mutation = (input: Buffer, random: Random, from: Ingredients) => Buffer;

function splice(input: Buffer, ...[at, removed, put]: [number, number, Buffer]): Buffer {
  return Buffer.concat([input.subarray(0, at), put, input.subarray(at + removed)]);
}

/** A place in the input, its end included. */
function placeIn(input: Buffer, random: Random): number {
  return random.below(input.length + 1);
}

function runOf(input: Buffer, random: Random): readonly [from: number, to: number] {
  const from = placeIn(input, random);
  const longest = random.below(8) === 0 ? 256 : 12;
  return [from, Math.min(input.length, from + 1 + random.below(longest))];
}

const nasty = [0, 9, 10, 13, 32, 34, 44, 47, 48, 58, 59, 61, 92, 127, 128, 160, 255] as const;

/** Numbers at which limits lie. */
const edges = ["0", "00", "f", "255", "256", "4096", "65535", "65536", "999999999999999"] as const;

const mutations: readonly Mutation[] = [
  (input, random) => {
    if (input.length === 0) return input;
    const changed = Buffer.from(input);
    const at = random.below(input.length);
    changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8));
    return changed;
  },
  (input, random) => {
    if (input.length === 0) return input;
    const changed = Buffer.from(input);
    const at = random.below(input.length);
    changed[at] = random.below(2) === 0 ? random.pick(nasty) : random.below(256);
    return changed;
  },
  (input, random) => {
    if (input.length === 0) return input;
    const changed = Buffer.from(input);
    const at = random.below(input.length);
    changed[at] = (changed[at] ?? 0) + random.below(9) - 4;
    return changed;
  },
  (input, random) => splice(input, placeIn(input, random), 0, Buffer.from([random.pick(nasty)])),
  (input, random, { tokens }) => splice(input, placeIn(input, random), 0, random.pick(tokens)),
  (input, random, { tokens }) => {
    const [from, to] = runOf(input, random);
    return splice(input, from, to - from, random.pick(tokens));
  },
  (input, random) => {
    const [from, to] = runOf(input, random);
    return splice(input, from, to - from, Buffer.alloc(0));
  },
  (input, random) => {
    const [from, to] = runOf(input, random);
    return splice(input, placeIn(input, random), 0, input.subarray(from, to));
  },
  (input, random) => input.subarray(0, placeIn(input, random)),
  (input, random, { corpus }) => {
    const other = random.pick(corpus);
    const [from, to] = [placeIn(input, random), placeIn(other, random)];
    return Buffer.concat([input.subarray(0, from), other.subarray(to)]);
  },
  (input, random) => {
    // A number of the text becomes its neighbour, or a long run.
    const digits = [...input.toString("latin1").matchAll(/[0-9]+/g)];
    if (digits.length === 0) return input;
    const found = random.pick(digits);
    const near = String(Number(found[0]) + random.below(3) - 1);
    const change = random.pick([near, near, ...edges]);
    return splice(input, found.index, found[0].length, Buffer.from(change));
  },
  (input, random) => {
    // Lines change places.
    const lines = input.toString("latin1").split("\r\n");
    if (lines.length < 2) return input;
    const [a, b] = [random.below(lines.length), random.below(lines.length)];
    const [first = "", second = ""] = [lines[a], lines[b]];
    lines[a] = second;
    if (random.below(2) === 0) lines[b] = first;
    return Buffer.from(lines.join("\r\n"), "latin1");
  },
  (input, random) => {
    const run = Buffer.alloc(
      1 + random.below(random.below(20) === 0 ? 2500 : 40),
      input[placeIn(input, random)] ?? 97,
    );
    return splice(input, placeIn(input, random), 0, run);
  },
];

export function mutate(input: Buffer, random: Random, from: Ingredients): Buffer {
  let mutated = input;
  for (let left = 1 + random.below(random.below(4) === 0 ? 12 : 3); left > 0; left--) {
    mutated = random.pick(mutations)(mutated, random, from);
  }
  return mutated.length > from.bytesMax ? mutated.subarray(0, from.bytesMax) : mutated;
}
