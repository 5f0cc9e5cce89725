/**
 * What OpenSSL asks while it makes, seals, opens and judges session tickets. Each ticket says until
 * when the certificates are valid that its client was accepted by: after that the handshake is a full
 * one. A client that was not accepted gets a ticket, too, where OpenSSL sends it before we can judge;
 * that one is never taken up.
 */
import type { TicketKey } from "../../tls/ticket-keys.ts";
import { Block } from "./block.ts";
import type { OpenSsl } from "./openssl.ts";

type Library = InstanceType<(typeof import("node:ffi"))["DynamicLibrary"]>;

/** `SSL_TICKET_STATUS`. */
const status = { success: 5, successRenew: 6 };
/** `SSL_TICKET_RETURN`; "renew": the client gets another. */
const answer = { ignore: 1, ignoreRenew: 2, use: 3, useRenew: 4 };
const nameBytes = 16;
const keyBytes = 32;
const tls13 = 0x0304;

/** Its addresses are what contexts are told. */
export class SessionTickets {
  readonly made: bigint;
  readonly opened: bigint;
  readonly sealed: bigint;
  readonly given: bigint;
  readonly #ssl: OpenSsl;
  readonly #keyBlock: Block;

  constructor(ssl: OpenSsl, library: Library) {
    this.#ssl = ssl;
    this.#keyBlock = ssl.syscalls.allocate(2 * keyBytes);
    this.made = library.registerCallback(
      { arguments: ["pointer", "pointer"], return: "i32" },
      (connection: unknown) => (attempt(() => this.#onMade(connection)) === true ? 1 : 0),
    );
    this.opened = library.registerCallback(
      { arguments: ["pointer", "pointer", "pointer", "u64", "i32", "pointer"], return: "i32" },
      (_: unknown, session: unknown, _name: unknown, _length: unknown, how: unknown) =>
        attempt(() => this.#onOpened(session, how)) ?? answer.ignore,
    );
    this.sealed = library.registerCallback(
      {
        arguments: ["pointer", "pointer", "pointer", "pointer", "pointer", "i32"],
        return: "i32",
      },
      (...given: readonly unknown[]) => attempt(() => this.#onSealed(given)) ?? -1,
    );
    this.given = library.registerCallback(
      { arguments: ["pointer", "pointer"], return: "i32" },
      (connection: unknown, session: unknown) =>
        attempt(() => this.#onGiven(connection, session)) === true ? 1 : 0,
    );
  }

  /** Until when the client may go on from this handshake; one that goes on itself has it already. */
  #onMade(connection: unknown): boolean {
    if (typeof connection !== "bigint") return false;
    const { functions, wordBlock, accepting } = this.#ssl;
    if (functions.SSL_session_reused(connection) === 1) return true;
    wordBlock.bytes.writeDoubleLE(accepting?.acceptedUntilMs() ?? 0, 0);
    const session = functions.SSL_get_session(connection);
    const at = Block.addressOf(wordBlock, 8);
    return functions.SSL_SESSION_set1_ticket_appdata(session, at, 8n) === 1;
  }

  #onOpened(session: unknown, how: unknown): number {
    if (how !== status.success && how !== status.successRenew) return answer.ignoreRenew;
    const { functions, ffi, wordBlock, accepting } = this.#ssl;
    if (typeof session !== "bigint" || accepting === undefined) return answer.ignoreRenew;
    const at = Block.addressOf(wordBlock, 16);
    if (functions.SSL_SESSION_get0_ticket_appdata(session, at, at + 8n) !== 1) {
      return answer.ignoreRenew;
    }
    const [where, length] = [
      wordBlock.bytes.readBigUInt64LE(0),
      wordBlock.bytes.readBigUInt64LE(8),
    ];
    if (where === 0n || length !== 8n) return answer.ignoreRenew;
    if (ffi.getFloat64(where, 0) <= accepting.startedMs) return answer.ignoreRenew;
    return how === status.success ? answer.use : answer.useRenew;
  }

  /** The deprecated form of this callback: the newer one wants a structure of C for each call. */
  #onSealed([connection, name, vector, cipher, mac, isSealing]: readonly unknown[]): number {
    const { functions, ffi, accepting } = this.#ssl;
    const isSound =
      typeof connection === "bigint" &&
      typeof name === "bigint" &&
      typeof vector === "bigint" &&
      typeof cipher === "bigint" &&
      typeof mac === "bigint";
    const [newest] = accepting?.ticketKeys ?? [];
    if (!isSound || newest === undefined) return 0;
    let key: TicketKey | undefined = newest;
    if (isSealing === 1) {
      ffi.exportBuffer(newest.name, name, nameBytes);
      if (functions.RAND_bytes(vector, nameBytes) !== 1) return -1;
    } else {
      const asked = ffi.toBuffer(name, nameBytes);
      key = accepting?.ticketKeys.find((known) => known.name.equals(asked));
      if (key === undefined) return 0;
    }
    const room = this.#keyBlock.bytes;
    try {
      key.cipher.copy(room, 0);
      key.mac.copy(room, keyBytes);
      const at = Block.addressOf(this.#keyBlock, 2 * keyBytes);
      const start = isSealing === 1 ? functions.EVP_EncryptInit_ex : functions.EVP_DecryptInit_ex;
      const isReady =
        start(cipher, functions.EVP_aes_256_cbc(), 0n, at, vector) === 1 &&
        functions.HMAC_Init_ex(mac, at + 32n, keyBytes, functions.EVP_sha256(), 0n) === 1;
      if (!isReady) return -1;
    } finally {
      room.fill(0);
    }
    const isRenewed = key !== newest || functions.SSL_version(connection) === tls13;
    return isSealing !== 1 && isRenewed ? 2 : 1;
  }

  /** A session of a server; true when it is kept. */
  #onGiven(connection: unknown, session: unknown): boolean {
    const { receiving } = this.#ssl;
    const take = receiving?.isAt(connection) === true ? receiving.onSession : undefined;
    if (typeof session !== "bigint" || take === undefined) return false;
    take(new SslSession(this.#ssl, session));
    return true;
  }
}

/** OpenSSL's callbacks: an exception would end the process. */
function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}

const unheld = new FinalizationRegistry<{ readonly free: () => void }>(({ free }) => free());

/** A session that a server gave, ours until it is freed. */
export class SslSession {
  readonly #ssl: OpenSsl;
  #handle: bigint;

  /** Takes over one reference. */
  constructor(ssl: OpenSsl, handle: bigint) {
    this.#ssl = ssl;
    this.#handle = handle;
    const { functions } = ssl;
    unheld.register(this, { free: () => functions.SSL_SESSION_free(handle) }, this);
  }

  get isSingleUse(): boolean {
    return this.#ssl.functions.SSL_SESSION_get_protocol_version(this.#handle) === tls13;
  }

  /** Offers it to the server of a handshake that has not begun. */
  offerOn(connection: bigint): void {
    if (this.#handle !== 0n) this.#ssl.functions.SSL_set_session(connection, this.#handle);
  }

  free(): void {
    if (this.#handle === 0n) return;
    unheld.unregister(this);
    this.#ssl.functions.SSL_SESSION_free(this.#handle);
    this.#handle = 0n;
  }
}
