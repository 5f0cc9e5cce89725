/**
 * Bugs to put into codecs, of kinds that codecs have had: the search must find each of them. What is
 * replaced must stand in its file exactly once; where a codec changes, its bugs change with it.
 */
import type { Codec } from "./codecs.ts";
import { http2Bugs, http2ClientBugs } from "./http2-seeded-bugs.ts";
import { bug, type SeededBug } from "./seeded-bug.ts";

const http1: readonly SeededBug[] = [
  bug(
    "a bare LF ends a field line",
    "http1-parser",
    `if (bytes[at] !== cr) return fail(head, "invalid-character");
  if (at + 1 === end) return -1;`,
    `if (bytes[at] === lf) at--;
  else if (bytes[at] !== cr) return fail(head, "invalid-character");
  if (at + 1 === end) return -1;`,
  ),
  bug(
    "white space before a colon is skipped",
    "http1-parser",
    "if (at === start || bytes[at] !== colon)",
    "if (at > start && bytes[at] === space) at++;\n  if (at === start || bytes[at] !== colon)",
  ),
  bug(
    "the CR of an empty line needs no LF",
    "http1-parser",
    "if (bytes[start + 1] !== lf) {",
    "if (bytes[start + 1] === 0x0d) {",
  ),
  bug(
    "a head may be as large as it likes when it comes at once",
    "http1-parser",
    "chunk.length - taken, limits.headBytesMax + 1 - before)",
    "chunk.length - taken)",
  ),
  bug(
    "one field too many",
    "http1-parser",
    "if (field === limits.fieldsMax)",
    "if (field > limits.fieldsMax)",
  ),
  bug(
    "what an earlier message dropped stays dropped",
    "http1-parser",
    "  head.dropped[field] = 0;\n",
    "",
  ),
  bug(
    "two lengths, the first counts",
    "http1-framing",
    'if (head.findId(known.contentLength, length + 1) >= 0) return "content-length";\n',
    "",
  ),
  bug(
    "chunked wins over a length",
    "http1-framing",
    'if (!head.forgivesLength) return "content-length-and-chunked";',
    "",
  ),
  bug(
    "leading zeros in a length",
    "http1-framing",
    "if (digits > 1 && head.bytes[start] === 0x30) return -1;",
    "",
  ),
  bug(
    "Connection may take the length away",
    "http1-framing",
    '  "content-length",\n  "transfer-encoding",\n  "content-type",',
    '  "transfer-encoding",\n  "content-type",',
  ),
  bug(
    "each field called Connection may name as many",
    "http1-framing",
    "left -= nominated.count - 1;",
    "",
  ),
  bug(
    "a 304 has a body",
    "http1-framing",
    "status < 200 || status === 204 || status === 304 || isHeadRequest",
    "status < 200 || status === 204 || isHeadRequest",
  ),
  bug(
    "a chunk size wraps",
    "http1-body",
    "this.#remaining = this.#remaining * 16 + digit;",
    "this.#remaining = (this.#remaining * 16 + digit) % 65_536;",
  ),
  bug(
    "the bytes after a chunk are skipped unseen",
    "http1-body",
    "return byte === 0x0d;\n      case",
    "return true;\n      case",
  ),
  bug(
    "a control character in a quoted extension",
    "http1-body",
    "return byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);",
    "return byte !== 0x0d;",
  ),
  bug(
    "a chunk is one byte shorter when it is cut",
    "http1-body",
    "const step = Math.min(chunk.length - this.position, this.#remaining);\n        this.#remaining -= step;",
    "const step = Math.min(chunk.length - this.position, this.#remaining);\n        this.#remaining -= step + (this.#remaining > step + 1 ? 1 : 0);",
  ),
  bug("trailers keep a length", "http1-writer", '  "content-length",\n', ""),
];

const tlsHello: readonly SeededBug[] = [
  bug(
    "what follows the hello decides",
    "tls-hello",
    "bytes.length && !isWholeMessage(head, joined)",
    "bytes.length",
  ),
  bug(
    "a record of no bytes",
    "tls-hello",
    "if (length === 0 || length > recordBytesMax)",
    "if (length > recordBytesMax)",
  ),
  bug(
    "a vector may run over its end",
    "tls-hello",
    "if (this.isBroken || end > this.#bytes.length) {",
    "if (this.isBroken) {",
  ),
  bug(
    "an extension twice",
    "tls-hello",
    "if (extensions.isBroken || seen.has(type))",
    "if (extensions.isBroken)",
  ),
  bug("two names", "tls-hello", "if (type === 0 && seen) list.isBroken = true;", ""),
  bug("names keep their case", "tls-hello", "undefined : name.toLowerCase();", "undefined : name;"),
  bug("names keep their dot", "tls-hello", 'if (name.endsWith(".")) name = name.slice(0, -1);', ""),
  bug(
    "a NUL in a name",
    "tls-hello",
    "if (byte < 0x21 || byte > 0x7e) return undefined;",
    "if (byte > 0x7e) return undefined;",
  ),
  bug("an empty protocol", "tls-hello", 'if (protocol === "") list.isBroken = true;', ""),
  bug(
    "GREASE is a version",
    "tls-hello",
    "if (version <= 0x0304 && version > (max ?? 0))",
    "if (version > (max ?? 0))",
  ),
  bug("the oldest version wins", "tls-hello", "version > (max ?? 0)", "version < (max ?? 65_536)"),
  bug(
    "lengths of 24 bits lose their first eight",
    "tls-hello",
    "const length = ((message[1] ?? 0) << 16) | ((message[2] ?? 0) << 8) | (message[3] ?? 0);",
    "const length = ((message[2] ?? 0) << 8) | (message[3] ?? 0);",
  ),
];

const proxyProtocol: readonly SeededBug[] = [
  bug(
    "a bare LF ends the line",
    "proxy-protocol",
    'if (bytes[end - 1] !== 13) return malformed("line not ended by CRLF");',
    "",
  ),
  bug(
    "a line of any length",
    "proxy-protocol",
    "const line1BytesMax = 107;",
    "const line1BytesMax = 4000;",
  ),
  bug(
    "fields after the ports",
    "proxy-protocol",
    'if (rest.length > 0) return malformed("too many fields");',
    "",
  ),
  bug("leading zeros in a port", "proxy-protocol", "/^(0|[1-9]\\d{0,4})$/", "/^\\d{1,5}$/"),
  bug("a port too high", "proxy-protocol", "number > 65_535", "number > 65_536"),
  bug("an octet too high", "proxy-protocol", "Number(part) <= 255", "Number(part) <= 256"),
  bug(
    "any word after UNKNOWN",
    "proxy-protocol",
    'line.startsWith("UNKNOWN ")',
    'line.startsWith("UNKNOWN")',
  ),
  bug(
    "groups may be nine",
    "proxy-protocol",
    "missing < 1 : missing !== 0",
    "missing < 1 : missing > 0",
  ),
  bug(
    "any version",
    "proxy-protocol",
    'if (versionCommand >> 4 !== 2) return malformed("unknown version");',
    "",
  ),
  bug("any command", "proxy-protocol", 'if (command > 1) return malformed("unknown command");', ""),
  bug(
    "addresses cut short",
    "proxy-protocol",
    'if (length < 2 * size + 4) return malformed("addresses cut short");',
    "",
  ),
  bug(
    "the header's length forgets its head",
    "proxy-protocol",
    "bytes: 16 + length, version: 2",
    "bytes: length, version: 2",
  ),
  bug(
    "a header is whole too early",
    "proxy-protocol",
    "if (bytes.length < 16 + length)",
    "if (bytes.length < 15 + length)",
  ),
  bug(
    "a value cut short",
    "proxy-protocol",
    'if (!areWhole(tlvs)) return malformed("a value cut short");',
    "",
  ),
  bug(
    "the ports change places",
    "proxy-protocol",
    "port: port(2 * size) }",
    "port: port(2 * size + 2) }",
  ),
];

const hpack: readonly SeededBug[] = [
  bug(
    "NUL stands in a name",
    "hpack-decoder",
    "if ((lower === 0 || lower !== byte) && !isColon)",
    "if (lower !== byte && !isColon)",
  ),
  bug(
    "a bare LF stands in a value",
    "hpack-decoder",
    "if (valueTable[bytes[at] ?? 0] !== 1) isSound = false;",
    "if (valueTable[bytes[at] ?? 0] !== 1 && bytes[at] !== 10) isSound = false;",
  ),
  bug(
    "a name that the table repeats is sound",
    "hpack-decoder",
    "table.mark(place) & ~faultyValue",
    "table.mark(place) & 255",
  ),
  bug(
    "fields cost nothing but their text",
    "hpack-decoder",
    "valueLength + entryOverhead;",
    "valueLength;",
  ),
  bug("one field too many", "hpack-decoder", "head.count === fieldsMax", "head.count > fieldsMax"),
  bug(
    "the table changes behind fields",
    "hpack-decoder",
    "return (first & 0x20) === 0 && this",
    "return this",
  ),
  bug(
    "the table may become larger than allowed",
    "hpack-decoder",
    "capacity > this.#capacityMax || ",
    "",
  ),
  bug("an index beyond the table", "hpack-decoder", "if (back >= table.count) return false;", ""),
  bug(
    "a string runs over its block",
    "hpack-decoder",
    "if (length < 0 || length > this.#end - this.#at) return false;",
    "if (length < 0) return false;",
  ),
  bug(
    "integers lose their last byte",
    "hpack-decoder",
    "(byte & 0x7f) << (7 * index)",
    "(byte & 0x7f) << (7 * Math.min(index, 1))",
  ),
  bug(
    "any padding ends Huffman's code",
    "hpack-huffman",
    "huffmanAccepts[state] === 1 ? end : -1",
    "end",
  ),
  bug(
    "what is evicted is found",
    "hpack-encoder",
    "insertion === 0 || back >= table.count",
    "insertion === 0",
  ),
];

export const seededBugs: Readonly<Record<Codec, readonly SeededBug[]>> = {
  http1,
  "tls-hello": tlsHello,
  "proxy-protocol": proxyProtocol,
  hpack,
  http2: http2Bugs,
  "http2-client": http2ClientBugs,
};
