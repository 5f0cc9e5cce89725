/**
 * Which fields of decoded messages anybody reads. A table that lets a field pass says that it is
 * honoured; a field that nobody reads has no effect whatever it says. Found in two ways: what is read
 * while resources are compiled, by message; and for what is read later, or where a compiler gave up
 * before, the names that occur in the code. A name that others share hides a field from this.
 *
 * Decoders of all generated messages are put aside while this runs: what they return is watched. To
 * look at all fields of a message (the tables do, and so does whoever prints or encodes it) is not to
 * read them; to copy it is, for nobody knows what becomes of the copy.
 */
import { globSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const generated = new URL("../../../src/wire/gen/ts/", import.meta.url);
/** Looks at all fields of each message, to refuse those that are not honoured. */
const tables = "proxy/config/honoured.ts";

interface Codec {
  decode: (...given: unknown[]) => object;
  encode: (...given: unknown[]) => unknown;
}

/** `envoy.config.cluster.v3.Cluster name`, with the field's name as `nameKey()` has it. */
export function readKey(type: string, field: string): string {
  return `${type} ${nameKey(field)}`;
}

/** In lower case and without underscores: proto's form and the generated code's are one. */
export function nameKey(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

const code = new URL("../../../src/proxy/", import.meta.url).pathname;
const table = /: Honoured<[^;]*? = \{\n(?:.*\n)*?\}(?: as const)?;\n/g;
const commentOrText = /\/\*[\s\S]*?\*\/|\/\/.*|"(?:[^"\\\n]|\\.)*"/g;

/** Names that the data plane's code has, but for the tables of what is honoured. */
export function mentionedNames(): ReadonlySet<string> {
  const names = new Set<string>();
  for (const file of globSync("**/*.ts", { cwd: code })) {
    if (file.endsWith(".test.ts") || file.startsWith("config/honoured")) continue;
    const text = readFileSync(`${code}${file}`, "utf8").replaceAll(table, "");
    for (const [name] of text.replaceAll(commentOrText, "").matchAll(/[A-Za-z]\w*/g)) {
      names.add(nameKey(name));
    }
  }
  return names;
}

/** Fields that have been read since, as `readKey()` writes them. */
export async function recordReads(): Promise<ReadonlySet<string>> {
  const reads = new Set<string>();
  for (const file of globSync("**/*.ts", { cwd: generated.pathname })) {
    const module: Readonly<Record<string, unknown>> = await import(
      pathToFileURL(`${generated.pathname}${file}`).href
    );
    for (const [name, value] of Object.entries(module)) {
      if (!isCodec(value)) continue;
      const type = `${String(module["protobufPackage"])}.${name.replaceAll(/_(?=[A-Z])/g, ".")}`;
      watch(value, type, reads);
    }
  }
  return reads;
}

function isCodec(value: unknown): value is Codec {
  return typeof value === "object" && value !== null && "decode" in value && "encode" in value;
}

function watch(codec: Codec, type: string, reads: Set<string>): void {
  const { decode, encode } = codec;
  let isEncoding = 0;
  codec.encode = (...given) => {
    isEncoding++;
    try {
      return encode.apply(codec, given);
    } finally {
      isEncoding--;
    }
  };
  const read = (field: string | symbol): void => {
    if (isEncoding === 0 && typeof field === "string") reads.add(readKey(type, field));
  };
  codec.decode = (...given) => new Proxy(decode.apply(codec, given), new Watcher(read));
}

class Watcher implements ProxyHandler<object> {
  readonly #read: (field: string | symbol) => void;
  /** Of which a descriptor was asked for last: it is one of all. */
  #listed: string | symbol | undefined;
  #isPrinted = false;

  constructor(read: (field: string | symbol) => void) {
    this.#read = read;
  }

  get(target: object, field: string | symbol, receiver: unknown): unknown {
    if (field === "toJSON") this.#isPrinted = true;
    else if (field !== this.#listed) this.#read(field);
    this.#listed = undefined;
    return Reflect.get(target, field, receiver);
  }

  getOwnPropertyDescriptor(target: object, field: string | symbol): PropertyDescriptor | undefined {
    this.#listed = field;
    return Reflect.getOwnPropertyDescriptor(target, field);
  }

  ownKeys(target: object): (string | symbol)[] {
    const keys = Reflect.ownKeys(target);
    const isLookedOver = this.#isPrinted || new Error().stack?.includes(tables) === true;
    this.#isPrinted = false;
    if (!isLookedOver) keys.forEach((key) => this.#read(key));
    return keys;
  }
}
