/** Bugs of HTTP/2's codec, of both its sides. */
import { bug, type SeededBug } from "./seeded-bug.ts";

export const http2Bugs: readonly SeededBug[] = [
  bug(
    "a second path",
    "http2-framing",
    '    if ((pseudo.places[which] ?? -1) >= 0) return "invalid-character";\n',
    "",
  ),
  bug(
    "pseudo-fields behind others",
    "http2-framing",
    "if (isOver || name === undefined",
    "if (name === undefined",
  ),
  bug(
    "two Hosts",
    "http2-framing",
    "if (host >= 0 && head.findId(known.host, host + 1) >= 0) return",
    "if (host < -1) return",
  ),
  bug("Host beside the authority", "http2-framing", "  head.dropId(known.host);\n", ""),
  bug(
    "a space in a path",
    "http2-framing",
    "if (byte <= 0x20 || byte === 0x7f) return false;",
    "if (byte < 0x20 || byte === 0x7f) return false;",
  ),
  bug(
    "less content than promised",
    "http2-streams",
    "if (stream.contentLeft > 0) return this.#onWrongLength(stream);",
    "",
  ),
  bug(
    "more content than promised",
    "http2-streams",
    "if (stream.contentLeft < 0) {",
    "if (stream.contentLeft < -10_000) {",
  ),
  bug(
    "content behind the end",
    "http2-streams",
    "if (stream.isRemoteEnded || stream.receiveWindow < 0) {",
    "if (stream.receiveWindow < 0) {",
  ),
  bug(
    "a stream's window has no end",
    "http2-streams",
    "if (stream.isRemoteEnded || stream.receiveWindow < 0) {",
    "if (stream.isRemoteEnded) {",
  ),
  bug(
    "one stream too many",
    "http2-server-side",
    "streams.open.size >= this",
    "streams.open.size > this",
  ),
  bug(
    "a head that is cut loses its first part",
    "http2-frame-reader",
    "chunk.copy(this.#head, this.#headBytes, at, at + step);",
    "chunk.copy(this.#head, 0, at, at + step);",
  ),
  bug(
    "a payload that is cut is read too early",
    "http2-frame-reader",
    "if (this.#payloadBytes < this.length) return",
    "if (this.#payloadBytes < this.length - 1) return",
  ),
  bug(
    "what waits ignores the connection's window",
    "http2-sender",
    "return this.window < step ? this.window : step;",
    "return step;",
  ),
  bug(
    "trailers overtake content",
    "http2-sender",
    "return this.#sendQueuedEnd(stream);\n    }",
    "return this.#sendEmptyEnd(stream);\n    }\n    this.#sendEmptyEnd(stream);",
  ),
];

export const http2ClientBugs: readonly SeededBug[] = [
  bug("an answer of status 101", "http2-response-framing", " || status === 101", ""),
  bug(
    "a status of any length",
    "http2-response-framing",
    'if ((slots[3] ?? 0) - start !== 3) return "syntax";',
    "",
  ),
  bug(
    "a second status",
    "http2-response-framing",
    'if (bytes[slots[field * slotWidth] ?? 0] === 0x3a) return "invalid-character";',
    "",
  ),
  bug(
    "two lengths, the first counts",
    "http2-response-framing",
    'if (head.findId(known.contentLength, field + 1) >= 0) return "invalid-character";',
    "",
  ),
  bug("an answer to HEAD has content", "http2-response-framing", " || isToHead;", ";"),
  bug("a 304 has content", "http2-response-framing", " || status === 304", ""),
  bug(
    "an interim answer is the end",
    "http2-response-framing",
    'if (status < 200 && isEnd) return "syntax";',
    "",
  ),
  bug(
    "interim answers without end",
    "http2-client-side",
    "++stream.interims > interimsMax",
    "++stream.interims > 1000",
  ),
  bug(
    "what an answer promises is not held to",
    "http2-client-side",
    "stream.contentLeft = head.bodyLength;",
    "stream.contentLeft = -1;",
  ),
  bug("an answer to what was not asked", "http2-client-side", " || streamId > streams.lastId", ""),
  bug(
    "a stream is answered when it is over",
    "http2-client-side",
    'streams.closed.find(streamId) === "ended" ? "closed-stream" : undefined',
    "undefined",
  ),
  bug(
    "content before the answer",
    "http2-streams",
    "if (this.#ports.isClient && !stream.isAnswered) {",
    "if (this.#ports.isClient && stream.isHead && !stream.isAnswered) {",
  ),
  bug(
    "a stream is over when its request is",
    "http2-streams",
    "if (this.#ports.isClient && !stream.isRemoteEnded) return;",
    "",
  ),
  bug(
    "a farewell leaves out the last stream that is served",
    "http2-streams",
    "if (stream.id <= lastId || stream.isClosed) continue;",
    "if (stream.id < lastId || stream.isClosed) continue;",
  ),
  bug(
    "a window that is taken back stays with open streams",
    "http2-peer-settings",
    "if (!sender.addStreamWindow(stream, change))",
    "if (change > 0 && !sender.addStreamWindow(stream, change))",
  ),
  bug(
    "what waits ignores its stream's window",
    "http2-sender",
    "if (sendWindow < step) step = sendWindow;",
    "",
  ),
  bug(
    "more is given back than was taken",
    "http2-receive-window",
    "    stream.unreturned = 0;\n",
    "",
  ),
  bug(
    "what a paused owner holds is given back at once",
    "http2-receive-window",
    "if (stream.isPaused) stream.held += bytes;",
    "stream.held += bytes;\n    if (stream.isPaused) this.#giveBack(stream, bytes);",
  ),
];
