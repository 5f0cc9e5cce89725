/**
 * HTTP/1.1 read the slow way, from RFC 9110 and RFC 9112 and the rules that `src/wire` states about
 * itself: one character after another out of a string, no state kept, nothing fast. It is what the
 * codec's verdicts are compared with.
 */

export interface StreamRules {
  readonly kind: "request" | "response";
  /** What is answered are HEAD requests. */
  readonly isHead: boolean;
  readonly headBytesMax: number;
  readonly fieldsMax: number;
}

export interface ReadMessage {
  /** Method and target, or the status. */
  readonly start: string;
  readonly minorVersion: number;
  /** Those that go on to the next hop. */
  readonly fields: readonly string[];
  readonly framing: string;
  readonly isKeepAlive: boolean;
  readonly keepAliveSeconds: number;
  content: string;
  trailers: readonly string[];
  isWhole: boolean;
}

export interface Reading {
  readonly messages: readonly ReadMessage[];
  /** `incomplete`: the bytes end where a message could go on; otherwise why they are refused. */
  readonly end: string;
}

/** Why reading stops: the text has ended, or it is refused. No Error, whose stack nobody reads. */
class Stop {
  readonly end: string;

  constructor(end: string) {
    this.end = end;
  }
}

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const tokenCharacters = new Set(`${alphanumerics}!#$%&'*+-.^_\`|~`);
const methodCharacters = new Set([...tokenCharacters].filter((one) => !/[a-z]/.test(one)));
const hexDigits = new Set("0123456789abcdefABCDEF");
const digits = new Set("0123456789");
const minors = new Set("01");
const blanks = new Set(" \t");
const every = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const targetCharacters = new Set(every.filter((one) => one > " " && one < "\x7f" && one !== "#"));
const valueCharacters = new Set(
  every.filter((one) => one === "\t" || (one >= " " && one !== "\x7f")),
);

class Text {
  readonly #text: string;
  at: number;
  readonly #end: number;
  /** What it means that the text ends at `end`. */
  readonly #atEnd: string;

  constructor(text: string, at: number, ...[end, atEnd]: [end: number, atEnd: string]) {
    this.#text = text;
    this.at = at;
    this.#end = Math.min(end, text.length);
    this.#atEnd = end <= text.length ? atEnd : "incomplete";
  }

  /** The same place of the same text, which ends at `end` for being too large. */
  limited(end: number): Text {
    return new Text(this.#text, this.at, end, "head-too-large");
  }

  /** The next character; the end of the text ends the reading. */
  get next(): string {
    if (this.at >= this.#end) throw new Stop(this.#atEnd);
    return this.#text[this.at] ?? "";
  }

  isNext(character: string): boolean {
    return this.next === character;
  }

  literal(expected: string): void {
    for (const character of expected) {
      if (this.next !== character) throw new Stop("malformed");
      this.at++;
    }
  }

  one(allowed: ReadonlySet<string>): string {
    const character = this.next;
    if (!allowed.has(character)) throw new Stop("malformed");
    this.at++;
    return character;
  }

  run(allowed: ReadonlySet<string>, min: number, max = Number.POSITIVE_INFINITY): string {
    const from = this.at;
    while (allowed.has(this.next)) {
      this.at++;
      if (this.at - from > max) throw new Stop("malformed");
    }
    if (this.at - from < min) throw new Stop("malformed");
    return this.#text.slice(from, this.at);
  }

  /** Some of `count` characters that are there. */
  some(count: number): string {
    const taken = this.#text.slice(this.at, Math.min(this.#end, this.at + count));
    this.at += taken.length;
    return taken;
  }
}

type Field = readonly [name: string, value: string];

export function readReference(text: string, rules: StreamRules): Reading {
  const messages: ReadMessage[] = [];
  let at = 0;
  try {
    while (at < text.length) {
      const head = readHead(text, at, rules);
      at = head.end;
      messages.push(head.message);
      at = readBody(text, at, { message: head.message, rules });
      if (rules.kind === "response" && head.message.start.startsWith("101")) break;
    }
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    return { messages, end: error.end };
  }
  return { messages, end: "incomplete" };
}

function readHead(
  whole: string,
  at: number,
  rules: StreamRules,
): { readonly message: ReadMessage; readonly end: number } {
  // One byte over the limit is still looked at: what is malformed is called so.
  const text = new Text(whole, at, at + rules.headBytesMax + 1, "head-too-large");
  const { start, minorVersion } =
    rules.kind === "request" ? readRequestLine(text) : readStatusLine(text);
  const fields = readFields(text, rules);
  if (text.at - at > rules.headBytesMax) throw new Stop("head-too-large");
  const framed = frame(fields, { start, minorVersion, ...rules });
  const message = { start, minorVersion, ...framed, content: "", trailers: [], isWhole: false };
  return { message, end: text.at };
}

interface Start {
  readonly start: string;
  readonly minorVersion: number;
}

function readRequestLine(text: Text): Start {
  if (text.next === "\r") text.literal("\r\n");
  const method = text.run(methodCharacters, 1, 64);
  text.literal(" ");
  const target = text.run(targetCharacters, 1);
  text.literal(" HTTP/1.");
  const minorVersion = Number(text.one(minors));
  text.literal("\r\n");
  return { start: `${method} ${target}`, minorVersion };
}

function readStatusLine(text: Text): Start {
  text.literal("HTTP/1.");
  const minorVersion = Number(text.one(minors));
  text.literal(" ");
  const status = text.one(digits) + text.one(digits) + text.one(digits);
  if (Number(status) < 100) throw new Stop("malformed");
  if (text.next !== "\r") {
    text.literal(" ");
    text.run(valueCharacters, 0);
  }
  text.literal("\r\n");
  return { start: status, minorVersion };
}

function readFields(text: Text, { fieldsMax }: StreamRules): Field[] {
  const fields: Field[] = [];
  while (text.next !== "\r") {
    const name = text.run(tokenCharacters, 1).toLowerCase();
    text.literal(":");
    text.run(blanks, 0);
    const value = text.run(valueCharacters, 0).replace(/[ \t]+$/, "");
    text.literal("\r\n");
    if (fields.length === fieldsMax) throw new Stop("too-many-fields");
    fields.push([name, value]);
  }
  text.literal("\r\n");
  return fields;
}

interface Framed {
  readonly fields: readonly string[];
  readonly framing: string;
  readonly isKeepAlive: boolean;
  readonly keepAliveSeconds: number;
}

type Known = Start & Pick<StreamRules, "kind" | "isHead">;

function frame(fields: Field[], known: Known): Framed {
  const isRequest = known.kind === "request";
  if (isRequest) checkHost(fields, known.minorVersion);
  let framing = lengthOf(fields);
  if (framing === "chunked" && known.minorVersion === 0) {
    throw new Stop("transfer-encoding-not-allowed");
  }
  const gone = new Set<string>();
  if (isRequest) {
    const expectations = valuesOf(fields, "expect");
    if (expectations.some((one) => one.toLowerCase() !== "100-continue")) {
      throw new Stop("expectation");
    }
    gone.add("expect");
  } else {
    const isInterim = known.start.startsWith("1");
    if (isInterim || known.start === "204") gone.add("content-length");
    const isBodiless = isInterim || known.start === "204" || known.start === "304";
    if (isBodiless || known.isHead) framing = "none";
    else if (framing === "none" && valuesOf(fields, "content-length").length === 0) {
      framing = "until-close";
    }
  }
  const nominated = nominations(fields, isRequest);
  const persists = known.minorVersion === 1 || nominated.has("keep-alive");
  return {
    fields: fields
      .filter((one) => !isForThisHop(one, nominated, gone))
      .map(([n, v]) => `${n}: ${v}`),
    framing,
    keepAliveSeconds: keepAliveOf(valuesOf(fields, "keep-alive").at(-1) ?? ""),
    isKeepAlive: persists && !nominated.has("close") && framing !== "until-close",
  };
}

function valuesOf(fields: readonly Field[], name: string): readonly string[] {
  return fields.filter(([one]) => one === name).map(([, value]) => value);
}

function checkHost(fields: readonly Field[], minorVersion: number): void {
  const [host, second] = valuesOf(fields, "host");
  if (second !== undefined) throw new Stop("host-invalid");
  if (host === "" || (host === undefined && minorVersion === 1)) throw new Stop("host-missing");
  if (host === undefined) return;
  const name = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]+)(:[0-9]{0,5})?$/;
  if (!name.test(host)) throw new Stop("host-invalid");
}

function lengthOf(fields: readonly Field[]): string {
  const [coding, secondCoding] = valuesOf(fields, "transfer-encoding");
  const [length, secondLength] = valuesOf(fields, "content-length");
  if (coding !== undefined) {
    if (length !== undefined) throw new Stop("content-length-and-chunked");
    if (secondCoding !== undefined) throw new Stop("transfer-encoding");
    if (coding.toLowerCase() === "chunked") return "chunked";
    throw new Stop(/^[a-z-]+$/i.test(coding) ? "transfer-encoding-unknown" : "transfer-encoding");
  }
  if (length === undefined) return "none";
  if (secondLength !== undefined || !/^(0|[1-9][0-9]{0,14})$/.test(length)) {
    throw new Stop("content-length");
  }
  return length === "0" ? "none" : `length ${length}`;
}

/** What `Connection` says, in however many fields. */
function nominations(fields: readonly Field[], isRequest: boolean): ReadonlySet<string> {
  const parts = valuesOf(fields, "connection").flatMap((value) => value.split(","));
  const tokens = parts.map((part) => part.replaceAll(/^[ \t]+|[ \t]+$/g, "").toLowerCase());
  const forbidden = ["host", "content-length", "transfer-encoding", "content-type"];
  if (isRequest) forbidden.push("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto");
  const isStrange = tokens.some((one) => forbidden.includes(one) || one.startsWith(":"));
  const count = parts.filter((part) => part !== "").length;
  if (isStrange || count > (isRequest ? 9 : 99)) throw new Stop("connection-header");
  return new Set(tokens);
}

/** Of several parameters the first timeout counts, up to six digits of it. */
function keepAliveOf(value: string): number {
  const parameters = value.split(",").map((one) => one.replace(/^ +/, ""));
  const timeout = parameters.find((one) => one.toLowerCase().startsWith("timeout=")) ?? "";
  return Number(/^.{8}([0-9]{1,6})/.exec(timeout)?.[1] ?? 0);
}

const kept = new Set(
  (
    "authorization cookie date forwarded proxy-authorization server set-cookie traceparent " +
    "tracestate via te upgrade"
  ).split(" "),
);
const keptPrefixes = ["x-forwarded-", "x-envoy-", "x-b3-", "x-request-id", "b3"];

function isForThisHop(
  [name, value]: Field,
  ...[nominated, gone]: [nominated: ReadonlySet<string>, gone: ReadonlySet<string>]
): boolean {
  if (gone.has(name)) return true;
  if (["connection", "keep-alive", "proxy-connection"].includes(name)) return true;
  if (name === "te") return value.toLowerCase() !== "trailers";
  if (kept.has(name) || keptPrefixes.some((prefix) => name.startsWith(prefix))) return false;
  return nominated.has(name);
}

function readBody(
  whole: string,
  at: number,
  { message, rules }: { readonly message: ReadMessage; readonly rules: StreamRules },
): number {
  const text = new Text(whole, at, Number.POSITIVE_INFINITY, "");
  const { framing } = message;
  if (framing === "chunked") readChunks(text, message, rules);
  if (framing === "until-close") message.content = text.some(Number.POSITIVE_INFINITY);
  if (framing.startsWith("length")) {
    const length = Number(framing.slice(7));
    message.content = text.some(length);
    if (message.content.length < length) throw new Stop("incomplete");
  }
  message.isWhole = framing !== "until-close";
  return text.at;
}

/** Extensions take up to 4096 bytes a body; their own marks are counted a little differently. */
export const extensionBytes = { surelyFine: 2048, surelyTooMany: 4500 } as const;

function readChunks(text: Text, message: ReadMessage, rules: StreamRules): void {
  let extensions = 0;
  for (;;) {
    const size = Number.parseInt(text.run(hexDigits, 1, 13), 16);
    const from = text.at;
    while (text.next === ";") readExtension(text);
    extensions += text.at - from;
    text.literal("\r\n");
    if (extensions > extensionBytes.surelyFine) throw new Stop("unspecified");
    if (size === 0) break;
    const content = text.some(size);
    message.content += content;
    if (content.length < size) throw new Stop("incomplete");
    text.literal("\r\n");
  }
  const { at } = text;
  const trailers = text.limited(at + rules.headBytesMax + 1);
  message.trailers = readFields(trailers, rules).map(([name, value]) => `${name}: ${value}`);
  if (trailers.at - at > rules.headBytesMax) throw new Stop("head-too-large");
  text.at = trailers.at;
}

function readExtension(text: Text): void {
  text.literal(";");
  text.run(tokenCharacters, 1);
  if (!text.isNext("=")) return;
  text.literal("=");
  if (!text.isNext('"')) {
    text.run(tokenCharacters, 1);
    return;
  }
  text.literal('"');
  while (!text.isNext('"')) {
    if (text.isNext("\\")) text.literal("\\");
    text.one(valueCharacters);
  }
  text.literal('"');
}
