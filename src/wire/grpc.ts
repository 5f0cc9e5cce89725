/**
 * gRPC's own layer over HTTP/2: length-prefixed messages, status codes, deadlines and the escaping of
 * status messages (the PROTOCOL-HTTP2 document of gRPC). Sans I/O. Compression is not spoken: a
 * message that says it is compressed is refused, as the protocol allows who announced no encoding.
 */
export const grpcStatus = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

export type GrpcStatusCode = (typeof grpcStatus)[keyof typeof grpcStatus];

const statusNames: readonly string[] = Object.keys(grpcStatus);

/** `14` → `unavailable`; a number that is no status is `unknown`. */
export function grpcStatusName(code: number): string {
  return statusNames[code] ?? "unknown";
}

/** A status as read from the wire; what is no status is `unknown`, as the protocol demands. */
export function parseGrpcStatus(text: string | undefined): GrpcStatusCode {
  const name = text !== undefined && /^\d{1,2}$/.test(text) ? statusNames[Number(text)] : undefined;
  return name === undefined ? grpcStatus.unknown : grpcStatus[name as keyof typeof grpcStatus]; // a key, by construction
}

/** Bytes in front of each message: a flag for compression and the length, big-endian. */
export const grpcPrefixBytes = 5;

export function grpcPrefix(messageBytes: number): Uint8Array {
  const prefix = new Uint8Array(grpcPrefixBytes);
  new DataView(prefix.buffer).setUint32(1, messageBytes);
  return prefix;
}

export type GrpcFramingError =
  | { readonly kind: "compressed" }
  | { readonly kind: "too-long"; readonly bytes: number; readonly bytesMax: number };

/** Cuts a byte stream into messages. After an error nothing more is read. */
export class GrpcMessageReader {
  readonly #bytesMax: number;
  readonly #prefix = new Uint8Array(grpcPrefixBytes);
  #prefixBytes = 0;
  #message: Uint8Array | undefined;
  #messageBytes = 0;
  #error: GrpcFramingError | undefined;

  constructor(messageBytesMax: number) {
    this.#bytesMax = messageBytesMax;
  }

  /** True when bytes of an unfinished message wait: a stream may not end then. */
  get isPartial(): boolean {
    return this.#prefixBytes > 0;
  }

  /** Calls `onMessage` for each message that `chunk` completes; each owns its bytes. */
  read(chunk: Uint8Array, onMessage: (message: Uint8Array) => void): GrpcFramingError | undefined {
    let offset = 0;
    while (this.#error === undefined && offset < chunk.length) {
      if (this.#message === undefined) {
        const taken = Math.min(grpcPrefixBytes - this.#prefixBytes, chunk.length - offset);
        this.#prefix.set(chunk.subarray(offset, offset + taken), this.#prefixBytes);
        this.#prefixBytes += taken;
        offset += taken;
        if (this.#prefixBytes < grpcPrefixBytes) return undefined;
        this.#startMessage();
      } else {
        const message = this.#message;
        const taken = Math.min(message.length - this.#messageBytes, chunk.length - offset);
        message.set(chunk.subarray(offset, offset + taken), this.#messageBytes);
        this.#messageBytes += taken;
        offset += taken;
      }
      this.#finishMessage(onMessage);
    }
    return this.#error;
  }

  #startMessage(): void {
    const bytes = new DataView(this.#prefix.buffer).getUint32(1);
    if (this.#prefix[0] !== 0) this.#error = { kind: "compressed" };
    else if (bytes > this.#bytesMax) {
      this.#error = { kind: "too-long", bytes, bytesMax: this.#bytesMax };
    } else {
      this.#message = new Uint8Array(bytes);
      this.#messageBytes = 0;
    }
  }

  #finishMessage(onMessage: (message: Uint8Array) => void): void {
    const message = this.#message;
    if (message === undefined || this.#messageBytes < message.length) return;
    this.#message = undefined;
    this.#prefixBytes = 0;
    onMessage(message);
  }
}

/** The sentence and status for a framing error. */
export function describeFramingError(error: GrpcFramingError): {
  readonly code: GrpcStatusCode;
  readonly message: string;
} {
  switch (error.kind) {
    case "compressed":
      return { code: grpcStatus.unimplemented, message: "compressed messages are not supported" };
    case "too-long":
      return {
        code: grpcStatus.resourceExhausted,
        message: `message of ${error.bytes} bytes is longer than ${error.bytesMax}`,
      };
  }
}

const timeoutUnitsMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** `grpc-timeout` in milliseconds, undefined when there is none or it is malformed. */
export function parseGrpcTimeout(text: string | undefined): number | undefined {
  const match = text === undefined ? null : /^(\d{1,8})([HMSmun])$/.exec(text);
  const unitMs = timeoutUnitsMs[match?.[2] ?? ""];
  return unitMs === undefined ? undefined : Number(match?.[1]) * unitMs;
}

/** `grpc-timeout` of at most eight digits: milliseconds, or seconds where those are too many. */
export function formatGrpcTimeout(timeoutMs: number): string {
  const ms = Math.max(1, Math.ceil(timeoutMs));
  return ms < 1e8 ? `${ms}m` : `${Math.min(Math.ceil(ms / 1000), 99_999_999)}S`;
}

/** `grpc-message` as it travels: UTF-8, percent-encoded outside printable ASCII. */
export function encodeGrpcMessage(message: string): string {
  let text = "";
  for (const byte of new TextEncoder().encode(message)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    text += isPlain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

/** Never fails: a broken escape stays as it is (the document asks for that). */
export function decodeGrpcMessage(text: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const escape = text[i] === "%" ? text.slice(i + 1, i + 3) : "";
    if (/^[0-9a-fA-F]{2}$/.test(escape)) {
      bytes.push(Number.parseInt(escape, 16));
      i += 2;
    } else {
      bytes.push(text.charCodeAt(i) & 0xff);
    }
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}
