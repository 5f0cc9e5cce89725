/** One TLS connection on a descriptor: a stream of bytes, and what its handshake established. */
import os from "node:os";

import { assert } from "../../../base/assert.ts";
import type { TicketKey } from "../../tls/ticket-keys.ts";
import { type ByteStream, wantsWrite } from "../byte-stream.ts";
import { Block } from "./block.ts";
import type { OpenSsl } from "./openssl.ts";
import type { SslSession } from "./session-tickets.ts";

const { EAGAIN, EPROTO, ECONNRESET } = os.constants.errno;

const firstBytesMax = 64 * 1024;

export interface SslRole {
  readonly fd: number;
  readonly isServer: boolean;
  readonly verify: "no" | "if-given" | "required";
  /** Offered, or accepted in this order. */
  readonly alpn: readonly string[];
  readonly sni: string | undefined;
  /** What was read of the connection already. */
  readonly first: Uint8Array | undefined;
  /** By the wall clock. */
  readonly startedMs: number;
  /** Of a server: what its tickets are bound to (32 bytes) and sealed with. */
  readonly tickets?: { readonly binding: Buffer; readonly keys: readonly TicketKey[] } | undefined;
  /** Of a client: offered to the server. */
  readonly session?: SslSession | undefined;
}

const never: readonly TicketKey[] = [];

export class SslConnection implements ByteStream {
  readonly buffers = true;
  readonly alpn: readonly string[];
  readonly startedMs: number;
  readonly ticketKeys: readonly TicketKey[];
  detail = "";
  /** Takes over what the server gives, during a handshake or a read. */
  onSession: ((session: SslSession) => void) | undefined = undefined;
  readonly #ssl: OpenSsl;
  readonly #fd: number;
  readonly #isServer: boolean;
  #handle: bigint;
  /** Holds what was read before; replaced by the socket as soon as it is empty. */
  #first: bigint | undefined;

  constructor(ssl: OpenSsl, connection: bigint, role: SslRole) {
    this.#ssl = ssl;
    this.#handle = connection;
    this.#fd = role.fd;
    this.#isServer = role.isServer;
    this.alpn = role.alpn;
    this.startedMs = role.startedMs;
    this.ticketKeys = role.tickets?.keys ?? never;
    const { functions } = ssl;
    functions.SSL_set_fd(connection, role.fd);
    const verify = { no: 0, "if-given": 1, required: 3 } as const;
    functions.SSL_set_verify(connection, verify[role.verify], ssl.goOn);
    if (role.isServer) functions.SSL_set_accept_state(connection);
    else functions.SSL_set_connect_state(connection);
    if (!role.isServer) this.#offer(role);
    if (role.tickets !== undefined) this.#bind(role.tickets.binding);
    if (role.first !== undefined && role.first.length > 0) this.#feed(role.first);
  }

  #bind(binding: Buffer): void {
    const { functions } = this.#ssl;
    this.#ssl.withBytes(binding, (at) => {
      const status = functions.SSL_set_session_id_context(this.#connection, at, binding.length);
      assert(status === 1, "a session's binding is too long");
    });
  }

  #offer({ alpn, sni, session }: SslRole): void {
    const { functions, alpnBlock } = this.#ssl;
    const setHostName = 55;
    session?.offerOn(this.#connection);
    if (sni !== undefined) functions.SSL_ctrl(this.#connection, setHostName, 0n, sni);
    const list = Buffer.concat(
      alpn.map((name) => Buffer.from(`${String.fromCharCode(name.length)}${name}`, "latin1")),
    );
    if (list.length === 0) return;
    assert(list.length <= alpnBlock.bytes.length, "too many protocols");
    alpnBlock.bytes.set(list);
    const at = Block.addressOf(alpnBlock, list.length);
    functions.SSL_set_alpn_protos(this.#connection, at, list.length);
  }

  #feed(first: Uint8Array): void {
    const { functions } = this.#ssl;
    assert(first.length <= firstBytesMax, "too much was read before the handshake");
    const bio = functions.BIO_new(functions.BIO_s_mem());
    assert(bio !== 0n, "no BIO");
    this.#ssl.withBytes(first, (at) => functions.BIO_write(bio, at, first.length));
    functions.SSL_set0_rbio(this.#connection, bio);
    this.#first = bio;
  }

  /** 0 when done; `-EAGAIN` and `wantsWrite` when it waits; otherwise it failed: see `detail`. */
  handshake(): number {
    const { functions } = this.#ssl;
    for (;;) {
      this.#ssl.accepting = this.#isServer ? this : undefined;
      this.#ssl.receiving = this;
      const status = functions.SSL_do_handshake(this.#connection);
      this.#ssl.accepting = undefined;
      this.#ssl.receiving = undefined;
      // An end before the handshake's is a failure: 0 means done here.
      const result = status === 1 ? 0 : this.#outcome(status) || -ECONNRESET;
      const wasFirst = this.#first !== undefined;
      this.#switchToSocket();
      // It ran dry on what was read before, not on the socket.
      if (result === -EAGAIN && wasFirst && this.#first === undefined) continue;
      return result;
    }
  }

  #switchToSocket(): void {
    if (this.#first === undefined) return;
    const { functions } = this.#ssl;
    const pending = 10;
    if (functions.BIO_ctrl(this.#first, pending, 0n, 0n) !== 0n) return;
    this.#first = undefined;
    functions.SSL_set0_rbio(this.#connection, functions.BIO_new_socket(this.#fd, 0));
  }

  read(into: Block, bytes: number): number {
    const at = Block.addressOf(into, bytes);
    this.#ssl.receiving = this;
    const count = this.#ssl.functions.SSL_read(this.#connection, at, bytes);
    if (count > 0) return count;
    if (this.#first !== undefined) {
      this.#switchToSocket();
      if (this.#first === undefined) return this.read(into, bytes);
    }
    return this.#outcome(count);
  }

  holds(): boolean {
    return this.#first !== undefined || this.#ssl.functions.SSL_has_pending(this.#connection) === 1;
  }

  /** Record by record (16 KB), until the kernel takes no more. */
  write(from: Block, bytes: number): number {
    const at = Block.addressOf(from, bytes);
    const { functions } = this.#ssl;
    for (let written = 0; ;) {
      const rest = at + BigInt(written);
      const count = functions.SSL_write(this.#connection, rest, bytes - written);
      if (count <= 0) {
        const status = this.#outcome(count);
        // A failure is met again by whoever offers the rest.
        if (written > 0) return written;
        return status === wantsWrite ? -EAGAIN : status === 0 ? -ECONNRESET : status;
      }
      written += count;
      if (written === bytes) return written;
    }
  }

  end(): void {
    this.#ssl.functions.SSL_shutdown(this.#connection);
    this.#ssl.functions.ERR_clear_error();
    this.#ssl.syscalls.shutdownWrite(this.#fd);
  }

  free(): void {
    if (this.#handle === 0n) return;
    const bothWays = 3;
    // Or OpenSSL would spoil the sessions of a connection that nobody said goodbye on.
    if (this.onSession !== undefined && this.detail === "") {
      this.#ssl.functions.SSL_set_shutdown(this.#handle, bothWays);
    }
    this.#ssl.functions.SSL_free(this.#handle);
    this.#handle = 0n;
  }

  get #connection(): bigint {
    assert(this.#handle !== 0n, "use of a freed TLS connection");
    return this.#handle;
  }

  /** What a call that returned no more than 0 means. */
  #outcome(status: number): number {
    const errno = this.#ssl.syscalls.lastError();
    const { functions } = this.#ssl;
    const kind = functions.SSL_get_error(this.#connection, status);
    const [failed, wantRead, wantWrite, inSyscall, ended] = [1, 2, 3, 5, 6];
    if (kind === wantRead) return -EAGAIN;
    if (kind === wantWrite) return wantsWrite;
    this.detail = kind === failed ? this.#ssl.reason() : "";
    functions.ERR_clear_error();
    if (kind === ended) return 0;
    if (kind === inSyscall) return errno < 0 ? errno : -ECONNRESET;
    return -EPROTO;
  }

  /** OpenSSL's number; 0 when the chain verified, or there is none. */
  get verifyResult(): number {
    return Number(this.#ssl.functions.SSL_get_verify_result(this.#connection));
  }

  /** Whether OpenSSL means this one. */
  isAt(handle: unknown): boolean {
    return this.#handle !== 0n && this.#handle === handle;
  }

  get isResumed(): boolean {
    return this.#ssl.functions.SSL_session_reused(this.#connection) === 1;
  }

  /**
   * When the first of the certificates expires that the peer was verified by: 0 where it was not,
   * infinity where it has none to verify. Of a full handshake: later ones do not have the chain.
   */
  acceptedUntilMs(): number {
    const { functions, wordBlock } = this.#ssl;
    if (this.verifyResult !== 0) return 0;
    const chain = functions.SSL_get0_verified_chain(this.#connection);
    if (chain === 0n) return this.peerCertificate === undefined ? Number.POSITIVE_INFINITY : 0;
    let seconds = Number.POSITIVE_INFINITY;
    const at = Block.addressOf(wordBlock, 8);
    for (let i = functions.OPENSSL_sk_num(chain) - 1; i >= 0; i--) {
      const end = functions.X509_get0_notAfter(functions.OPENSSL_sk_value(chain, i));
      if (functions.ASN1_TIME_diff(at, at + 4n, 0n, end) !== 1) return 0;
      const { bytes } = wordBlock;
      seconds = Math.min(seconds, bytes.readInt32LE(0) * 86_400 + bytes.readInt32LE(4));
    }
    return this.startedMs + seconds * 1000;
  }

  /** As DER, until the next is asked for: whoever keeps it copies it. */
  get peerCertificate(): Buffer | undefined {
    const { functions } = this.#ssl;
    const certificate = functions.SSL_get1_peer_certificate(this.#connection);
    if (certificate === 0n) return undefined;
    try {
      return this.#der(certificate);
    } finally {
      functions.X509_free(certificate);
    }
  }

  /** As DER, until the next is asked for: that of ours which the peer was shown. */
  get ownCertificate(): Buffer | undefined {
    const certificate = this.#ssl.functions.SSL_get_certificate(this.#connection);
    return certificate === 0n ? undefined : this.#der(certificate);
  }

  /** Of a server's full handshake: what the client sent behind its certificate, as DER. */
  peerIssuers(): readonly Buffer[] {
    const { functions } = this.#ssl;
    const chain = functions.SSL_get_peer_cert_chain(this.#connection);
    const issuers: Buffer[] = [];
    if (chain === 0n) return issuers;
    const count = functions.OPENSSL_sk_num(chain);
    for (let i = 0; i < count; i++) {
      const der = this.#der(functions.OPENSSL_sk_value(chain, i));
      if (der !== undefined) issuers.push(Buffer.from(der));
    }
    return issuers;
  }

  #der(certificate: bigint): Buffer | undefined {
    const { functions, derBlock, wordBlock } = this.#ssl;
    const bytes = functions.i2d_X509(certificate, 0n);
    if (bytes <= 0 || bytes > derBlock.bytes.length) return undefined;
    wordBlock.bytes.writeBigUInt64LE(Block.addressOf(derBlock, bytes), 0);
    functions.i2d_X509(certificate, Block.addressOf(wordBlock, 8));
    return derBlock.view(bytes);
  }

  get alpnProtocol(): string | undefined {
    const { functions, ffi, wordBlock } = this.#ssl;
    wordBlock.bytes.fill(0);
    const at = Block.addressOf(wordBlock, 16);
    functions.SSL_get0_alpn_selected(this.#connection, at, at + 8n);
    const length = wordBlock.bytes.readUInt32LE(8);
    if (length === 0) return undefined;
    return ffi.toBuffer(wordBlock.bytes.readBigUInt64LE(0), length).toString("latin1");
  }

  get version(): string {
    const at = this.#ssl.functions.SSL_get_version(this.#connection);
    return this.#ssl.text(at) ?? "";
  }

  get cipher(): string {
    const { functions } = this.#ssl;
    const cipher = functions.SSL_get_current_cipher(this.#connection);
    return cipher === 0n ? "" : (this.#ssl.text(functions.SSL_CIPHER_get_name(cipher)) ?? "");
  }

  get serverName(): string | undefined {
    return this.#ssl.text(this.#ssl.functions.SSL_get_servername(this.#connection, 0));
  }
}
