/**
 * Sessions of the portable backend, by Node's TLS. Its contexts bind tickets themselves, so there is
 * one for each binding, and its tickets open with one key: those of the period before, and further
 * keys of a configuration, come to a full handshake.
 */
import type tls from "node:tls";
import type { X509Certificate } from "node:crypto";

import { ClientSessions } from "./client-sessions.ts";
import type { ClientSide } from "./context.ts";
import { createNodeContext, type TlsMaterial } from "./material.ts";
import { bindingFor, type TicketTerms } from "./resumption.ts";
import type { TicketKey } from "./ticket-keys.ts";

/** By server name. */
const serverContexts = new WeakMap<TicketTerms, Map<string, tls.SecureContext>>();
const clientContexts = new WeakMap<TlsMaterial, tls.SecureContext>();
const clientSessions = new WeakMap<ClientSide, ClientSessions<ServerSession>>();

/** Node's form of a session has the server's certificate, and does not say so. */
export interface ServerSession {
  readonly ticket: Buffer;
  readonly server: X509Certificate | undefined;
}

/** Further server names are served without tickets: nobody can make us make contexts. */
const namesMax = 8;

export function resumingServerContext(
  material: TlsMaterial,
  terms: TicketTerms,
  sni: string | undefined,
): tls.SecureContext {
  const name = sni?.toLowerCase() ?? "";
  const made = serverContexts.get(terms) ?? new Map<string, tls.SecureContext>();
  const known = made.get(name);
  if (known !== undefined) return known;
  if (made.size >= namesMax) return material.context;
  const [key] = terms.keys;
  const context = createNodeContext(material.parts, {
    // Text, of 32 bytes at most.
    sessionIdContext: bindingFor(terms.binding, sni).toString("hex", 0, 16),
    sessionTimeout: terms.timeoutS,
    ...(key === undefined ? {} : { ticketKeys: shortKey(key) }),
  });
  made.set(name, context);
  serverContexts.set(terms, made);
  return context;
}

/** Node's form: a name, and two keys of 16 bytes. */
function shortKey({ name, mac, cipher }: TicketKey): Buffer {
  return Buffer.concat([name, mac.subarray(0, 16), cipher.subarray(0, 16)]);
}

export function resumingClientContext(material: TlsMaterial): tls.SecureContext {
  let context = clientContexts.get(material);
  if (context === undefined) {
    context = createNodeContext(material.parts, {});
    clientContexts.set(material, context);
  }
  return context;
}

/** Undefined where none are to be kept. */
export function portableSessionsOf(
  side: ClientSide,
  material: TlsMaterial | string,
): ClientSessions<ServerSession> | undefined {
  if (side.sessionsMax === 0 || typeof material === "string") return undefined;
  let sessions = clientSessions.get(side);
  if (sessions === undefined) {
    sessions = new ClientSessions(side.sessionsMax);
    clientSessions.set(side, sessions);
  }
  sessions.useFor(material);
  return sessions;
}

/** Keeps what a server gives: with TLS 1.2 during the handshake, before the server is accepted. */
export class SessionTaker {
  readonly #sessions: ClientSessions<ServerSession>;
  readonly #key: string;
  readonly #early: Buffer[] = [];
  #keep: (ticket: Buffer) => void;

  constructor(sessions: ClientSessions<ServerSession>, key: string) {
    this.#sessions = sessions;
    this.#key = key;
    this.#keep = (ticket) => void this.#early.push(ticket);
  }

  listen(secured: tls.TLSSocket): void {
    secured.on("session", (ticket) => this.#keep(ticket));
    secured.once("secureConnect", () => {
      this.#isSingleUse = secured.getProtocol() === "TLSv1.3";
    });
  }

  #isSingleUse = true;

  accept(server: X509Certificate | undefined, acceptedUntilMs: number): void {
    const isSingleUse = this.#isSingleUse;
    this.#keep = (ticket) => {
      const kept = { session: { ticket, server }, validUntilMs: acceptedUntilMs, isSingleUse };
      this.#sessions.put(this.#key, kept);
    };
    for (const ticket of this.#early.splice(0)) this.#keep(ticket);
  }
}

/** By terms and certificate: chains that end before their leaf does. */
const shortChains = new WeakMap<TicketTerms, Map<string, number>>();
const shortChainsMax = 1024;

/**
 * OpenSSL's word for a client whose certificates have expired since it was accepted; undefined for
 * everybody else. A ticket holds the leaf alone: chains that expire before it are remembered here.
 */
export function expiryOfResumed(
  socket: tls.TLSSocket,
  terms: TicketTerms,
  nowMs: number,
): string | undefined {
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return undefined;
  const leafUntilMs = leaf.validToDate.getTime();
  const chains = shortChains.get(terms) ?? new Map<string, number>();
  if (socket.isSessionReused()) {
    const untilMs = Math.min(leafUntilMs, chains.get(leaf.fingerprint256) ?? leafUntilMs);
    return untilMs <= nowMs ? "CERT_HAS_EXPIRED" : undefined;
  }
  const untilMs = validUntilMs(leaf);
  if (untilMs >= leafUntilMs) return undefined;
  for (const [fingerprint] of chains) {
    if (chains.size < shortChainsMax) break;
    chains.delete(fingerprint);
  }
  chains.set(leaf.fingerprint256, untilMs);
  shortChains.set(terms, chains);
  return undefined;
}

/** When the first certificate of a chain expires; 0 without one. */
export function validUntilMs(leaf: X509Certificate | undefined): number {
  let until = leaf === undefined ? 0 : Number.POSITIVE_INFINITY;
  for (let at = leaf; at !== undefined; at = issuerOf(at)) {
    until = Math.min(until, at.validToDate.getTime());
  }
  return until;
}

function issuerOf(certificate: X509Certificate): X509Certificate | undefined {
  const issuer = certificate.issuerCertificate;
  return issuer === undefined || issuer.raw.equals(certificate.raw) ? undefined : issuer;
}
