/**
 * Sessions that servers gave us, to go on from when we connect to them again. Only those of servers
 * that were accepted are kept, by endpoint and server name, for as long as the certificates that the
 * server was accepted by are valid.
 */
import type { SocketAddress } from "../../base/socket-address.ts";

export interface KeptSession<Session> {
  readonly session: Session;
  /** When the first of the certificates that the server was accepted by expires. */
  readonly validUntilMs: number;
  /** TLS 1.3: whoever sees two connections resume with one ticket can tell that they are of one client. */
  readonly isSingleUse: boolean;
}

/** Endpoints and names that sessions are kept of, in one context. */
const keysMax = 1024;
/** A configuration that asks for more gets this many of each. */
const sessionsMaxMax = 64;

export class ClientSessions<Session> {
  readonly #max: number;
  readonly #drop: (session: Session) => void;
  /** The key used last is last; of a key, the newest session. */
  readonly #kept = new Map<string, KeptSession<Session>[]>();
  #material: unknown;

  constructor(max: number, drop: (session: Session) => void = () => {}) {
    this.#max = Math.min(max, sessionsMaxMax);
    this.#drop = drop;
  }

  /** Sessions that were made with other certificates or trust anchors are gone after this. */
  useFor(material: unknown): void {
    if (this.#material === material) return;
    this.clear();
    this.#material = material;
  }

  /** One that may be offered to this server now. */
  take(key: string, nowMs: number): KeptSession<Session> | undefined {
    const sessions = this.#kept.get(key);
    for (;;) {
      const kept = sessions?.at(-1);
      if (sessions === undefined || kept === undefined) return undefined;
      const isOver = kept.validUntilMs <= nowMs;
      if (isOver || kept.isSingleUse) {
        sessions.pop();
        if (sessions.length === 0) this.#kept.delete(key);
      }
      if (!isOver) return kept;
      this.#drop(kept.session);
    }
  }

  put(key: string, kept: KeptSession<Session>): void {
    let sessions = this.#kept.get(key);
    if (sessions === undefined) sessions = [];
    else this.#kept.delete(key);
    this.#kept.set(key, sessions);
    sessions.push(kept);
    if (sessions.length > this.#max) this.#dropAll(sessions.splice(0, 1));
    if (this.#kept.size <= keysMax) return;
    for (const [oldest, those] of this.#kept) {
      this.#kept.delete(oldest);
      this.#dropAll(those);
      return;
    }
  }

  /** A handshake with one of them failed. */
  forget(key: string): void {
    this.#dropAll(this.#kept.get(key) ?? []);
    this.#kept.delete(key);
  }

  clear(): void {
    for (const sessions of this.#kept.values()) this.#dropAll(sessions);
    this.#kept.clear();
  }

  #dropAll(sessions: readonly KeptSession<Session>[]): void {
    for (const { session } of sessions) this.#drop(session);
  }
}

/** Two servers, or one under two names, share no session. */
export function sessionKeyOf(server: SocketAddress, sni: string | undefined): string {
  return `${server.address} ${server.port} ${sni ?? ""}`;
}
