/**
 * Which earlier handshakes a server lets clients go on from. A ticket is bound to everything that the
 * client was judged by: settings of the filter chain, trust anchors, our own certificate. Where any of
 * that differs, another chain or a later version, the handshake is a full one.
 */
import { hash } from "node:crypto";

import { HeddleError } from "../../base/error.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  CommonTlsContext,
  DownstreamTlsContext,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { SecretSource } from "../secret-source.ts";
import type { TlsMaterial } from "./material.ts";
import { configuredTicketKey, ownTicketKeys, type TicketKey } from "./ticket-keys.ts";

/** What one context's tickets are made and taken by, for a handshake that starts now. */
export interface TicketTerms {
  /** Of 32 bytes: a session of another is not taken up. */
  readonly binding: Buffer;
  readonly keys: readonly TicketKey[];
  readonly timeoutS: number;
}

/** As BoringSSL's: a session is forgotten after two hours. */
const timeoutSDefault = 7200;
const timeoutSMax = 7 * 24 * 3600;
/** Keys are looked at for a new period this often. */
const keysKeptMs = 60_000;

interface KnownTerms {
  readonly terms: TicketTerms;
  readonly configured: readonly TicketKey[] | undefined;
  readonly freshUntilMs: number;
}

export class ServerResumption {
  readonly #settings: Buffer;
  readonly #timeoutS: number;
  readonly #configuredKeys: () => readonly TicketKey[] | undefined;
  /** Of several certificates each choice has terms of its own. */
  readonly #known = new WeakMap<TlsMaterial, KnownTerms>();

  constructor(
    settings: Buffer,
    timeoutS: number,
    configuredKeys: () => readonly TicketKey[] | undefined,
  ) {
    this.#settings = settings;
    this.#timeoutS = timeoutS;
    this.#configuredKeys = configuredKeys;
  }

  /** The same object as long as nothing has changed. */
  terms(material: TlsMaterial, nowMs: number): TicketTerms {
    const configured = this.#configuredKeys();
    const before = this.#known.get(material);
    const isFresh = before?.configured === configured && nowMs < (before?.freshUntilMs ?? 0);
    if (before !== undefined && isFresh) return before.terms;
    const binding = this.#bindingOf(material, configured !== undefined);
    const keys = configured ?? ownTicketKeys(nowMs, binding);
    const isSame =
      before !== undefined &&
      before.terms.binding.equals(binding) &&
      before.terms.keys.length === keys.length &&
      before.terms.keys.every((key, i) => keys[i]?.name.equals(key.name));
    const terms = isSame ? before.terms : { binding, keys, timeoutS: this.#timeoutS };
    this.#known.set(material, { terms, configured, freshUntilMs: nowMs + keysKeptMs });
    return terms;
  }

  /**
   * Of whose keys are shared, the certificate counts by its names alone, as in Envoy: proxies that
   * stand for one name each have a certificate of their own.
   */
  #bindingOf(material: TlsMaterial, isShared: boolean): Buffer {
    const { certificates, ...judged } = material.parts;
    const own = isShared
      ? material.localNames
      : certificates.flatMap(({ chainPem, privateKeyPem }) => [chainPem, privateKeyPem]);
    return sha256(this.#settings, JSON.stringify([judged, own]));
  }
}

/** What is asked for under one name is not gone on with under another (RFC 6066 §3). */
export function bindingFor(binding: Buffer, sni: string | undefined): Buffer {
  return sni === undefined ? binding : sha256(binding, sni.toLowerCase());
}

/** Undefined where configuration wants none. Throws `tls-unsupported`. */
export function planResumption(
  config: DownstreamTlsContext,
  serverNames: readonly string[],
  secrets: SecretSource,
): ServerResumption | undefined {
  // Sessions are not kept here: what is not in a ticket is not resumed, whatever is said of those.
  if (config.disableStatelessSessionResumption === true) return undefined;
  const seconds = Number(config.sessionTimeout?.seconds ?? 0);
  const timeoutS = Math.min(seconds === 0 ? timeoutSDefault : seconds, timeoutSMax);
  const common = CommonTlsContext.fromPartial({
    ...config.commonTlsContext,
    // Counted as what they come to (`TlsMaterial`).
    tlsCertificates: [],
    tlsCertificateSdsSecretConfigs: [],
  });
  const judgedBy = DownstreamTlsContext.encode({
    ...config,
    commonTlsContext: common,
    sessionTicketKeys: undefined,
    sessionTicketKeysSdsSecretConfig: undefined,
  }).finish();
  const settings = sha256(judgedBy, JSON.stringify(serverNames));
  return new ServerResumption(settings, timeoutS, keysOf(config, secrets));
}

function keysOf(
  { sessionTicketKeys, sessionTicketKeysSdsSecretConfig }: DownstreamTlsContext,
  secrets: SecretSource,
): () => readonly TicketKey[] | undefined {
  if (sessionTicketKeysSdsSecretConfig !== undefined) {
    const { name } = sessionTicketKeysSdsSecretConfig;
    let known: { readonly from: readonly Uint8Array[]; readonly keys: readonly TicketKey[] };
    return () => {
      const secret = secrets.get(name);
      // Nobody's but ours until they come.
      if (secret?.kind !== "ticket-keys") return undefined;
      if (known?.from !== secret.keys) {
        known = { from: secret.keys, keys: secret.keys.map(configuredTicketKey) };
      }
      return known.keys;
    };
  }
  if (sessionTicketKeys === undefined) return () => undefined;
  const keys = readTicketKeys(sessionTicketKeys.keys).map(configuredTicketKey);
  return () => keys;
}

/** Throws `tls-unsupported` where there is none, or one that has not the right length. */
export function readTicketKeys(sources: readonly DataSource[]): readonly Uint8Array[] {
  const keys = sources.map(({ inlineBytes, inlineString }) => {
    if (inlineBytes === undefined && inlineString === undefined) {
      throw new HeddleError("tls-unsupported", "session_ticket_keys must be inline");
    }
    return inlineBytes ?? Buffer.from(inlineString ?? "", "utf8");
  });
  try {
    if (keys.length === 0) throw new Error("session_ticket_keys holds no key");
    for (const key of keys) configuredTicketKey(key);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : "session_ticket_keys";
    throw new HeddleError("tls-unsupported", message, { cause });
  }
  return keys;
}

function sha256(...parts: readonly (Uint8Array | string)[]): Buffer {
  return hash("sha256", Buffer.concat(parts.map((part) => Buffer.from(part))), "buffer");
}
