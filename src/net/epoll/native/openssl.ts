/**
 * TLS by the OpenSSL that is inside the Node binary. Contexts and connections are objects that own
 * their C counterparts; private keys pass through one block that is wiped after each use.
 */
import { assert } from "../../../base/assert.ts";
import { Block } from "./block.ts";
import type { Syscalls } from "./libc.ts";
import { type OpenSslFunctions, resolveOpenSsl } from "./openssl-functions.ts";
import { SessionTickets } from "./session-tickets.ts";
import { SslConnection, type SslRole } from "./ssl-connection.ts";

export interface SslContextOptions {
  /** One for each kind of key: between them OpenSSL decides. */
  readonly certificates: readonly { readonly chainPem: string; readonly privateKeyPem: string }[];
  readonly trustedCaPem: string | undefined;
  /** What the issuers of chains have taken back; undefined: it is not looked at. */
  readonly crlPem: string | undefined;
  readonly minVersion: string;
  readonly maxVersion: string;
  /** Names of TLS 1.2 and 1.3, in one list. */
  readonly ciphers: string;
  /** Of a server: by its own order, and not by the client's. */
  readonly prefersOwnCiphers: boolean;
  /** But a client whose first is ChaCha20 has it, whatever stands first here. */
  readonly yieldsToChaCha: boolean;
  readonly curves: string | undefined;
  readonly signatures: string | undefined;
}

/** What a context is for. Without resumption no session outlives its connection. */
export type SslUse =
  | { readonly side: "client"; readonly resumes: boolean }
  /** Seconds that a ticket is good for; undefined where there are none. */
  | { readonly side: "server"; readonly ticketsForS: number | undefined };

type Ffi = typeof import("node:ffi");

const versions: Readonly<Record<string, bigint>> = { "TLSv1.2": 0x0303n, "TLSv1.3": 0x0304n };
const control = {
  mode: 33,
  readAhead: 41,
  cache: 44,
  chainCert: 89,
  curves: 92,
  signatures: 98,
  min: 123,
  max: 124,
};
/** Partial writes, a moving write buffer, buffers given back while idle. */
const modes = 0x01n | 0x02n | 0x10n;
/**
 * An end without close_notify is no error; no compression, no renegotiation. No compressed
 * certificates either, as in Node's own contexts: Brotli takes longer than the rest of a handshake.
 */
const options = (1n << 7n) | (1n << 17n) | (1n << 30n) | (1n << 32n) | (1n << 33n);
const noTickets = 1n << 14n;
/** Of what both ends know, the server's first is used; and the client's, where that is ChaCha20. */
const ownOrder = 1n << 22n;
const chaChaFirst = 1n << 21n;
/** Told of and not kept: who wants sessions keeps them. */
const givesSessions = 0x301n;
/** A connection uses up one at most, and each brings another. */
const ticketsEach = 1n;
const setTicketKeyCallback = 72;
/** What is longer has a block of its own, twice as large: there are few of them, and they stay. */
const pemBytes = 256 * 1024;
const pemBytesMax = 64 * 1024 * 1024;
const derBytesMax = 32 * 1024;
const alpnBytesMax = 512;

/** X509_V_FLAG_CRL_CHECK and X509_V_FLAG_CRL_CHECK_ALL. */
const checksRevocation = 0x4n | 0x8n;

interface PemKind {
  readonly read: OpenSslFunctions["PEM_read_bio_X509"];
  readonly free: OpenSslFunctions["X509_free"];
}

export class OpenSsl {
  readonly ffi: Ffi;
  readonly functions: OpenSslFunctions;
  readonly syscalls: Syscalls;
  readonly alpnBlock: Block;
  readonly derBlock: Block;
  readonly wordBlock: Block;
  /** A collected library would take its callback with it. */
  readonly #library: InstanceType<Ffi["DynamicLibrary"]>;
  #pemBlock: Block;
  readonly #selectAlpn: bigint;
  /**
   * A verification callback that goes on: the handshake ends, and the peer is judged by OpenSSL's
   * verdict and its certificate, which can then be named. As Node does.
   */
  readonly goOn: bigint;
  /** The connection whose handshake is under way: OpenSSL calls back within the call. */
  accepting: SslConnection | undefined;
  /** The connection that was read from last. */
  receiving: SslConnection | undefined;
  readonly #tickets: SessionTickets;

  /** Throws where a function is missing. */
  constructor(ffi: Ffi, syscalls: Syscalls) {
    this.ffi = ffi;
    const library = new ffi.DynamicLibrary(null);
    this.#library = library;
    this.functions = resolveOpenSsl(library);
    this.syscalls = syscalls;
    this.#pemBlock = syscalls.allocate(pemBytes);
    this.derBlock = syscalls.allocate(derBytesMax);
    this.alpnBlock = syscalls.allocate(alpnBytesMax);
    this.wordBlock = syscalls.allocate(16);
    const verify = { arguments: ["i32", "pointer"], return: "i32" } as const;
    this.goOn = library.registerCallback(verify, () => 1);
    const callback = {
      arguments: ["pointer", "pointer", "pointer", "pointer", "u32", "pointer"],
      return: "i32",
    } as const;
    this.#selectAlpn = this.#library.registerCallback(callback, (_, into, length, from, bytes) =>
      this.#onSelect(into, length, from, bytes),
    );
    this.#tickets = new SessionTickets(this, library);
  }

  /** Throws with OpenSSL's reason when it refuses the material. */
  createContext(wanted: SslContextOptions, use: SslUse): SslContext {
    const { functions } = this;
    const context = functions.SSL_CTX_new(functions.TLS_method());
    assert(context !== 0n, "no TLS context");
    try {
      this.#configure(context, wanted);
      this.#resume(context, use);
      this.#certify(context, wanted);
    } catch (thrown) {
      functions.SSL_CTX_free(context);
      throw thrown;
    } finally {
      functions.ERR_clear_error();
    }
    return new SslContext(this, context);
  }

  #configure(context: bigint, wanted: SslContextOptions): void {
    const { functions } = this;
    const set = (which: number, value: bigint): bigint =>
      functions.SSL_CTX_ctrl(context, which, value, 0n);
    functions.SSL_CTX_set_options(context, options | orderOf(wanted));
    set(control.mode, modes);
    set(control.readAhead, 1n);
    this.#check(set(control.min, versions[wanted.minVersion] ?? 0x0303n) === 1n, "min version");
    this.#check(set(control.max, versions[wanted.maxVersion] ?? 0x0304n) === 1n, "max version");
    const names = wanted.ciphers.split(":");
    const modern = names.filter((name) => name.startsWith("TLS_")).join(":");
    const older = names.filter((name) => !name.startsWith("TLS_")).join(":");
    this.#check(functions.SSL_CTX_set_ciphersuites(context, modern) === 1, "ciphers");
    this.#check(functions.SSL_CTX_set_cipher_list(context, older) === 1, "ciphers");
    this.#list(context, "curves", wanted.curves);
    this.#list(context, "signatures", wanted.signatures);
    functions.SSL_CTX_set_alpn_select_cb(context, this.#selectAlpn, 0n);
  }

  /** Names with colons between; undefined: OpenSSL's own. */
  #list(context: bigint, what: "curves" | "signatures", names: string | undefined): void {
    if (names === undefined) return;
    this.#withText(`${names}\0`, (at) => {
      const isTaken = this.functions.SSL_CTX_ctrl(context, control[what], 0n, at) === 1n;
      this.#check(isTaken, what);
    });
  }

  /** Early data (0-RTT) is never taken nor sent: OpenSSL's default. */
  #resume(context: bigint, use: SslUse): void {
    const { functions } = this;
    const isOff = use.side === "client" ? !use.resumes : use.ticketsForS === undefined;
    const cache = use.side === "client" && !isOff ? givesSessions : 0n;
    functions.SSL_CTX_ctrl(context, control.cache, cache, 0n);
    functions.SSL_CTX_set_num_tickets(context, isOff ? 0n : ticketsEach);
    const tickets = this.#tickets;
    if (isOff) functions.SSL_CTX_set_options(context, noTickets);
    else if (use.side === "client") functions.SSL_CTX_sess_set_new_cb(context, tickets.given);
    else {
      functions.SSL_CTX_set_timeout(context, BigInt(use.ticketsForS ?? 0));
      const { made, opened, sealed } = tickets;
      const isSet =
        functions.SSL_CTX_set_session_ticket_cb(context, made, opened, 0n) === 1 &&
        functions.SSL_CTX_callback_ctrl(context, setTicketKeyCallback, sealed) === 1n;
      this.#check(isSet, "session tickets");
    }
  }

  #certify(context: bigint, options: SslContextOptions): void {
    const { functions } = this;
    const { certificates, trustedCaPem, crlPem } = options;
    for (const { chainPem, privateKeyPem } of certificates) {
      let isLeaf = true;
      this.#eachCertificate(chainPem, (certificate) => {
        const isTaken = isLeaf
          ? functions.SSL_CTX_use_certificate(context, certificate) === 1
          : functions.SSL_CTX_ctrl(context, control.chainCert, 1n, certificate) === 1n;
        this.#check(isTaken, "the certificate");
        isLeaf = false;
      });
      this.#withBio(privateKeyPem, (bio) => {
        const key = functions.PEM_read_bio_PrivateKey(bio, 0n, 0n, 0n);
        this.#check(key !== 0n, "the private key");
        const isTaken = functions.SSL_CTX_use_PrivateKey(context, key) === 1;
        functions.EVP_PKEY_free(key);
        this.#check(isTaken && functions.SSL_CTX_check_private_key(context) === 1, "the key");
      });
    }
    if (trustedCaPem === undefined) return;
    const store = functions.SSL_CTX_get_cert_store(context);
    this.#eachCertificate(trustedCaPem, (certificate) => {
      this.#check(functions.X509_STORE_add_cert(store, certificate) === 1, "a trusted CA");
      functions.SSL_CTX_add_client_CA(context, certificate);
    });
    if (crlPem !== undefined) this.#revoke(store, crlPem);
  }

  /** Every certificate of a chain must be on no list of its issuer's, and there must be one. */
  #revoke(store: bigint, crlPem: string): void {
    const { functions } = this;
    const { PEM_read_bio_X509_CRL: read, X509_CRL_free: free } = functions;
    const count = this.#each(crlPem, { read, free }, (list) => {
      this.#check(functions.X509_STORE_add_crl(store, list) === 1, "a revocation list");
    });
    this.#check(count > 0, "a PEM without a revocation list");
    this.#check(functions.X509_STORE_set_flags(store, checksRevocation) === 1, "revocation lists");
  }

  #eachCertificate(pem: string, take: (certificate: bigint) => void): void {
    const { PEM_read_bio_X509: read, X509_free: free } = this.functions;
    const count = this.#each(pem, { read, free }, take);
    this.#check(count > 0, "a PEM without a certificate");
  }

  /** How many there are. */
  #each(pem: string, { read, free }: PemKind, take: (item: bigint) => void): number {
    let count = 0;
    this.#withBio(pem, (bio) => {
      for (;;) {
        const item = read(bio, 0n, 0n, 0n);
        if (item === 0n) break;
        count++;
        try {
          take(item);
        } finally {
          free(item);
        }
      }
    });
    return count;
  }

  #withBio(pem: string, use: (bio: bigint) => void): void {
    this.#withText(pem, (at, bytes) => {
      const bio = this.functions.BIO_new_mem_buf(at, bytes);
      assert(bio !== 0n, "no BIO");
      try {
        use(bio);
      } finally {
        this.functions.BIO_free(bio);
      }
    });
  }

  #withText(text: string, use: (at: bigint, bytes: number) => void): void {
    const bytes = Buffer.byteLength(text);
    const block = this.#roomFor(bytes);
    const room = block.bytes;
    room.write(text);
    try {
      use(Block.addressOf(block, bytes), bytes);
    } finally {
      room.fill(0, 0, bytes);
    }
  }

  #roomFor(bytes: number): Block {
    assert(bytes <= pemBytesMax, "PEM text is too long");
    let size = this.#pemBlock.bytes.length;
    if (bytes <= size) return this.#pemBlock;
    while (size < bytes) size *= 2;
    this.#pemBlock = this.syscalls.allocate(size);
    return this.#pemBlock;
  }

  /** For the length of a call; wiped after it. */
  withBytes(bytes: Uint8Array, use: (at: bigint) => void): void {
    const room = this.#pemBlock.bytes;
    room.set(bytes);
    try {
      use(Block.addressOf(this.#pemBlock, bytes.length));
    } finally {
      room.fill(0, 0, bytes.length);
    }
  }

  #check(isFine: boolean, what: string): void {
    if (!isFine) throw new Error(`OpenSSL refuses ${what}: ${this.reason()}`);
  }

  /** Of the oldest error in OpenSSL's queue, as Node names it without its prefix. */
  reason(): string {
    const code = this.functions.ERR_peek_error();
    if (code === 0n) return "";
    const at = this.functions.ERR_reason_error_string(code);
    return at === 0n ? String(code) : (this.ffi.toString(at) ?? "");
  }

  text(at: bigint): string | undefined {
    return at === 0n ? undefined : (this.ffi.toString(at) ?? undefined);
  }

  /** OpenSSL's callback: an exception would end the process. */
  #onSelect(into: unknown, length: unknown, from: unknown, bytes: number): number {
    const failed = 2;
    try {
      const isSound =
        typeof into === "bigint" && typeof length === "bigint" && typeof from === "bigint";
      return isSound ? this.#select(into, length, this.ffi.toBuffer(from, bytes)) : failed;
    } catch {
      return failed;
    }
  }

  /** By our order; no protocol where none is shared, which is no failure (RFC 7301 leaves it to us). */
  #select(into: bigint, length: bigint, offered: Buffer): number {
    const noAcknowledgement = 3;
    for (const protocol of this.accepting?.alpn ?? []) {
      if (!isOffered(offered, protocol)) continue;
      this.alpnBlock.bytes.write(protocol, "latin1");
      this.ffi.setUint64(into, 0, Block.addressOf(this.alpnBlock, protocol.length));
      this.ffi.setUint8(length, 0, protocol.length);
      return 0;
    }
    return noAcknowledgement;
  }
}

function orderOf({ prefersOwnCiphers, yieldsToChaCha }: SslContextOptions): bigint {
  if (!prefersOwnCiphers) return 0n;
  return yieldsToChaCha ? ownOrder | chaChaFirst : ownOrder;
}

function isOffered(list: Buffer, protocol: string): boolean {
  for (let at = 0; at < list.length; at += 1 + (list[at] ?? 0)) {
    const end = at + 1 + (list[at] ?? 0);
    if (end <= list.length && list.toString("latin1", at + 1, end) === protocol) return true;
  }
  return false;
}

/** Freed when nobody holds it; its connections hold the C side on their own. */
const contexts = new FinalizationRegistry<{ readonly free: () => void }>(({ free }) => free());

export class SslContext {
  readonly #ssl: OpenSsl;
  readonly #context: bigint;

  constructor(ssl: OpenSsl, context: bigint) {
    this.#ssl = ssl;
    this.#context = context;
    const { functions } = ssl;
    contexts.register(this, { free: () => functions.SSL_CTX_free(context) });
  }

  /** The handshake has not begun. */
  open(role: SslRole): SslConnection {
    const { functions } = this.#ssl;
    const connection = functions.SSL_new(this.#context);
    assert(connection !== 0n, "no TLS connection");
    return new SslConnection(this.#ssl, connection, role);
  }
}
