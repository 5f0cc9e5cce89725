/**
 * DNS messages (RFC 1035, 2782, 3596, 6891) as a name server for a mesh needs them: queries in,
 * answers out, and enough of others' answers to check them. Sans I/O. Never throws on what came from
 * the network: `undefined` is a message nobody can make sense of.
 */
import { assert } from "../base/assert.ts";
import { formatIpv6, ipv6Groups } from "./ip-text.ts";

export const recordTypes = { a: 1, cname: 5, aaaa: 28, srv: 33, opt: 41, any: 255 } as const;

export const responseCodes = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
} as const;

export interface DnsQuestion {
  /** Lower case, without the last dot: `catalog.default.svc.cluster.local`. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface DnsQuery {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly question: DnsQuestion;
  /** What the asker takes over UDP: 512 without EDNS. */
  readonly udpBytesMax: number;
  readonly hasEdns: boolean;
}

export type DnsAnswer =
  | { readonly type: "a" | "aaaa"; readonly name: string; readonly address: string }
  | { readonly type: "cname"; readonly name: string; readonly target: string }
  | {
      readonly type: "srv";
      readonly name: string;
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    };

const headerBytes = 12;
const nameBytesMax = 255;
const labelBytesMax = 63;
const pointersMax = 64;
const classInternet = 1;
/** What we accept and announce over UDP; larger datagrams get lost in fragments (RFC 9715). */
export const udpBytesMax = 1232;

/** Undefined when it is no query, asks nothing or several things, or is malformed. */
export function decodeDnsQuery(bytes: Uint8Array): DnsQuery | undefined {
  if (bytes.length < headerBytes) return undefined;
  const flags = uint16(bytes, 2);
  if ((flags & 0x8000) !== 0 || uint16(bytes, 4) !== 1) return undefined;
  const question = readQuestion(bytes);
  if (question === undefined) return undefined;
  const edns = findEdns(bytes, question.end);
  if (edns === undefined) return undefined;
  return {
    id: uint16(bytes, 0),
    opcode: (flags >> 11) & 15,
    recursionDesired: (flags & 0x0100) !== 0,
    question: question.question,
    udpBytesMax: Math.max(512, Math.min(edns.bytesMax, udpBytesMax)),
    hasEdns: edns.isPresent,
  };
}

/** Whether a message from upstream answers this query: same id, same question, a response. */
export function isAnswerTo(query: DnsQuery, bytes: Uint8Array): boolean {
  if (bytes.length < headerBytes || uint16(bytes, 0) !== query.id) return false;
  if ((uint16(bytes, 2) & 0x8000) === 0 || uint16(bytes, 4) !== 1) return false;
  const { question } = readQuestion(bytes) ?? {};
  const { name, type } = query.question;
  return question?.name === name && question.type === type;
}

export interface DnsResponse {
  readonly query: DnsQuery;
  readonly code: number;
  readonly answers: readonly DnsAnswer[];
  readonly isAuthoritative: boolean;
  readonly ttlSeconds: number;
  /** Answers are left out and TC is set rather than exceed this. */
  readonly bytesMax: number;
}

export function encodeDnsResponse(response: DnsResponse): Buffer {
  const { query, code, isAuthoritative, ttlSeconds } = response;
  const tail = query.hasEdns ? ednsRecord() : Buffer.alloc(0);
  const head = [header(query.id), encodeQuestion(query.question)];
  let bytes = head.reduce((total, part) => total + part.length, tail.length);
  const records: Buffer[] = [];
  let isTruncated = false;
  for (const answer of response.answers) {
    const record = encodeRecord(answer, ttlSeconds, query.question.name);
    if (bytes + record.length > response.bytesMax) {
      isTruncated = true;
      break;
    }
    bytes += record.length;
    records.push(record);
  }
  const message = Buffer.concat([...head, ...records, tail]);
  message.writeUInt16BE(
    0x8080 |
      (query.opcode << 11) |
      (isAuthoritative ? 0x0400 : 0) |
      (isTruncated ? 0x0200 : 0) |
      (query.recursionDesired ? 0x0100 : 0) |
      code,
    2,
  );
  message.writeUInt16BE(1, 4);
  message.writeUInt16BE(records.length, 6);
  message.writeUInt16BE(query.hasEdns ? 1 : 0, 10);
  return message;
}

/** The refusal of a message that has an id and nothing else to go by; undefined for less. */
export function encodeFormatError(bytes: Uint8Array): Buffer | undefined {
  if (bytes.length < headerBytes || (uint16(bytes, 2) & 0x8000) !== 0) return undefined;
  const message = header(uint16(bytes, 0));
  message.writeUInt16BE(0x8080 | responseCodes.formatError, 2);
  return message;
}

/** Over TCP each message follows its length in two bytes. */
export function frameDns(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  framed.set(message, 2);
  return framed;
}

/** The messages that are complete, and what is left. At most one message of 64 KiB ever waits. */
export function unframeDns(bytes: Buffer): { readonly messages: Buffer[]; readonly rest: Buffer } {
  const messages: Buffer[] = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    const length = bytes.readUInt16BE(at);
    if (at + 2 + length > bytes.length) break;
    messages.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return { messages, rest: bytes.subarray(at) };
}

function uint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function readQuestion(
  bytes: Uint8Array,
): { readonly question: DnsQuestion; readonly end: number } | undefined {
  const name = readName(bytes, headerBytes);
  if (name === undefined || name.end + 4 > bytes.length) return undefined;
  const type = uint16(bytes, name.end);
  const question = { name: name.name, type, class: uint16(bytes, name.end + 2) };
  return { question, end: name.end + 4 };
}

/** Follows compression backwards only, so it ends; bounded besides. */
function readName(
  bytes: Uint8Array,
  start: number,
): { readonly name: string; readonly end: number } | undefined {
  const labels: string[] = [];
  let length = 0;
  let at = start;
  let end: number | undefined;
  let lowest = start;
  for (let pointers = 0; ;) {
    const size = bytes[at];
    if (size === undefined) return undefined;
    if (size === 0) return { name: labels.join("."), end: end ?? at + 1 };
    if (size >= 0xc0) {
      if (at + 1 >= bytes.length) return undefined;
      const target = uint16(bytes, at) & 0x3fff;
      pointers += 1;
      if (target >= lowest || pointers > pointersMax) return undefined;
      end ??= at + 2;
      lowest = target;
      at = target;
      continue;
    }
    length += size + 1;
    if (size > labelBytesMax || length >= nameBytesMax || at + 1 + size > bytes.length) {
      return undefined;
    }
    const label = readLabel(bytes.subarray(at + 1, at + 1 + size));
    if (label === undefined) return undefined;
    labels.push(label);
    at += 1 + size;
  }
}

/** Printable ASCII without dots: what else a label may hold (RFC 2181) names no service. */
function readLabel(bytes: Uint8Array): string | undefined {
  let label = "";
  for (const byte of bytes) {
    if (byte < 0x21 || byte > 0x7e || byte === 0x2e) return undefined;
    label += String.fromCharCode(byte);
  }
  return label.toLowerCase();
}

/** Undefined when the records after the question are malformed. */
function findEdns(
  bytes: Uint8Array,
  start: number,
): { readonly isPresent: boolean; readonly bytesMax: number } | undefined {
  let left = uint16(bytes, 6) + uint16(bytes, 8) + uint16(bytes, 10);
  let at = start;
  let found = { isPresent: false, bytesMax: 512 };
  for (; left > 0; left -= 1) {
    const name = readName(bytes, at);
    if (name === undefined || name.end + 10 > bytes.length) return undefined;
    const end = name.end + 10 + uint16(bytes, name.end + 8);
    if (end > bytes.length) return undefined;
    if (uint16(bytes, name.end) === recordTypes.opt) {
      if (found.isPresent || name.name !== "") return undefined;
      found = { isPresent: true, bytesMax: uint16(bytes, name.end + 2) };
    }
    at = end;
  }
  return found;
}

function header(id: number): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  bytes.writeUInt16BE(id, 0);
  return bytes;
}

function encodeQuestion({ name, type, class: family }: DnsQuestion): Buffer {
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(family, 2);
  return Buffer.concat([encodeName(name), tail]);
}

function encodeName(name: string): Buffer {
  const parts: Buffer[] = [];
  for (const label of name === "" ? [] : name.split(".")) {
    const bytes = Buffer.from(label, "latin1");
    assert(bytes.length > 0 && bytes.length <= labelBytesMax, "a DNS label of 1 to 63 bytes");
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  parts.push(Buffer.from([0]));
  return Buffer.concat(parts);
}

/** Where the question's name stands: an answer about it points there, so that more answers fit. */
const questionPointer = Buffer.from([0xc0, headerBytes]);

function encodeRecord(answer: DnsAnswer, ttlSeconds: number, asked: string): Buffer {
  const body = encodeBody(answer);
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(recordTypes[answer.type], 0);
  fixed.writeUInt16BE(classInternet, 2);
  fixed.writeUInt32BE(ttlSeconds, 4);
  fixed.writeUInt16BE(body.length, 8);
  const owner = answer.name === asked ? questionPointer : encodeName(answer.name);
  return Buffer.concat([owner, fixed, body]);
}

function encodeBody(answer: DnsAnswer): Buffer {
  switch (answer.type) {
    case "a":
      return Buffer.from(answer.address.split(".").map(Number));
    case "aaaa": {
      const bytes = Buffer.alloc(16);
      ipv6Groups(answer.address).forEach((group, i) => bytes.writeUInt16BE(group, 2 * i));
      return bytes;
    }
    case "cname":
      return encodeName(answer.target);
    case "srv": {
      const fixed = Buffer.alloc(6);
      fixed.writeUInt16BE(answer.priority, 0);
      fixed.writeUInt16BE(answer.weight, 2);
      fixed.writeUInt16BE(answer.port, 4);
      return Buffer.concat([fixed, encodeName(answer.target)]);
    }
  }
}

function ednsRecord(): Buffer {
  const bytes = Buffer.alloc(11);
  bytes.writeUInt16BE(recordTypes.opt, 1);
  bytes.writeUInt16BE(udpBytesMax, 3);
  return bytes;
}

/** A question with recursion asked for, in the form that `isAnswerTo()` compares. */
export function encodeDnsQuery({ id, question }: DnsQuery): Buffer {
  const message = Buffer.concat([header(id), encodeQuestion(question)]);
  message.writeUInt16BE(0x0100, 2);
  message.writeUInt16BE(1, 4);
  return message;
}

export interface DnsAddresses {
  /** One of `responseCodes`, or another. */
  readonly code: number;
  readonly addresses: readonly string[];
  /** The shortest life among the records; undefined without any. */
  readonly ttlSeconds: number | undefined;
}

/** The addresses of an answer, whatever aliases lead to them; undefined when it is malformed. */
export function decodeAddresses(bytes: Uint8Array): DnsAddresses | undefined {
  const question = bytes.length < headerBytes ? undefined : readQuestion(bytes);
  if (question === undefined) return undefined;
  const addresses: string[] = [];
  let ttlSeconds: number | undefined;
  let at = question.end;
  for (let left = uint16(bytes, 6); left > 0; left -= 1) {
    const name = readName(bytes, at);
    if (name === undefined || name.end + 10 > bytes.length) return undefined;
    const start = name.end + 10;
    const end = start + uint16(bytes, name.end + 8);
    if (end > bytes.length) return undefined;
    const type = uint16(bytes, name.end);
    const body = bytes.subarray(start, end);
    if (type === recordTypes.a && body.length === 4) addresses.push(body.join("."));
    if (type === recordTypes.aaaa && body.length === 16) addresses.push(formatIpv6(body));
    const ttl = uint16(bytes, name.end + 4) * 0x10000 + uint16(bytes, name.end + 6);
    // RFC 2181 section 8: the highest bit set means no life at all.
    ttlSeconds = Math.min(ttlSeconds ?? Infinity, ttl > 0x7fff_ffff ? 0 : ttl);
    at = end;
  }
  return { code: uint16(bytes, 2) & 15, addresses, ttlSeconds };
}
