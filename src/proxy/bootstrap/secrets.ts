/** Secrets of a bootstrap: those that stand in it, and those that control planes and services send. */
import { messageOf } from "../../base/error.ts";
import { isFileSecret, type SecretSource, type TlsSecret } from "../../net/secret-source.ts";
import { readTicketKeys } from "../../net/tls-contexts.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { Secret } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/secret.ts";
import {
  type SecretOrigin,
  typeUrls,
  type XdsFeed,
  type XdsResource,
  type XdsUpdate,
} from "../../xds/feed.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";
import { honouredSecret } from "./honoured-bootstrap.ts";

export interface BootstrapSecretsOptions {
  readonly statics: ReadonlyMap<string, TlsSecret>;
  readonly ads: XdsFeed | undefined;
  /** A feed of secrets for each service and file that is named; throws where there is none. */
  readonly open: (origin: SecretOrigin) => XdsFeed;
  /** What cannot be had: a secret that stays away refuses handshakes. */
  readonly onProblem: (name: string, reason: string) => void;
}

export class BootstrapSecrets implements SecretSource {
  readonly #options: BootstrapSecretsOptions;
  readonly #arrived = new Map<string, TlsSecret>();
  readonly #listeners = new Set<(name: string) => void>();
  /** By origin; an undefined feed could not be opened. */
  readonly #feeds = new Map<string, XdsFeed | undefined>();

  constructor(options: BootstrapSecretsOptions) {
    this.#options = options;
  }

  get(name: string): TlsSecret | undefined {
    return this.#arrived.get(name) ?? this.#options.statics.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  want(secrets: ReadonlyMap<string, SecretOrigin>): void {
    const byFeed = new Map<XdsFeed, Set<string>>();
    for (const feed of this.#feeds.values()) {
      if (feed !== undefined) byFeed.set(feed, new Set());
    }
    for (const [name, origin] of secrets) {
      const feed = this.#feedFor(name, origin);
      if (feed === undefined) continue;
      const names = byFeed.get(feed) ?? new Set();
      byFeed.set(feed, names.add(name));
    }
    for (const [feed, names] of byFeed) feed.subscribe(typeUrls.secret, names);
  }

  /** Takes what a feed sends; a secret that cannot be read is refused, the one before it stays. */
  apply(update: XdsUpdate): void {
    const reasons: string[] = [];
    for (const resource of update.resources) {
      try {
        this.#arrived.set(resource.name, readSecret(resource));
        for (const listener of this.#listeners) listener(resource.name);
      } catch (thrown) {
        reasons.push(`${resource.name}: ${messageOf(thrown)}`);
      }
    }
    for (const name of update.removed) {
      if (!this.#arrived.delete(name)) continue;
      for (const listener of this.#listeners) listener(name);
    }
    update.respond(reasons.length === 0 ? undefined : reasons.join("; "));
  }

  #feedFor(name: string, origin: SecretOrigin): XdsFeed | undefined {
    if (origin.kind === "unsaid") {
      if (!this.#options.statics.has(name) && !isFileSecret(name)) {
        this.#problemOnce(name, "static_resources has no such secret");
      }
      return undefined;
    }
    const key = JSON.stringify(origin);
    if (this.#feeds.has(key)) return this.#feeds.get(key);
    let feed: XdsFeed | undefined;
    try {
      feed = origin.kind === "ads" ? this.#options.ads : this.#options.open(origin);
      if (feed === undefined) throw new Error("the bootstrap has no ads_config");
      // The aggregated stream hands secrets on with everything else.
      if (origin.kind !== "ads") feed.onUpdate = (update) => this.apply(update);
    } catch (thrown) {
      this.#options.onProblem(name, messageOf(thrown));
    }
    this.#feeds.set(key, feed);
    return feed;
  }

  readonly #told = new Set<string>();

  #problemOnce(name: string, reason: string): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.#options.onProblem(name, reason);
  }
}

/** Throws a refusal. */
export function readSecret({ name, bytes }: Pick<XdsResource, "name" | "bytes">): TlsSecret {
  const secret = honoured(Secret.decode(bytes), honouredSecret, "");
  if (secret.tlsCertificate !== undefined) {
    const { certificateChain, privateKey } = secret.tlsCertificate;
    const chainPem = textOf(certificateChain, "tls_certificate.certificate_chain");
    const privateKeyPem = textOf(privateKey, "tls_certificate.private_key");
    return { kind: "certificate", chainPem, privateKeyPem };
  }
  if (secret.validationContext !== undefined) {
    const { trustedCa, crl } = secret.validationContext;
    const trustedCaPem = textOf(trustedCa, "validation_context.trusted_ca");
    if (crl === undefined) return { kind: "validation", trustedCaPem };
    return { kind: "validation", trustedCaPem, crlPem: textOf(crl, "validation_context.crl") };
  }
  if (secret.sessionTicketKeys !== undefined) {
    return { kind: "ticket-keys", keys: readTicketKeys(secret.sessionTicketKeys.keys) };
  }
  const known = "tls_certificate, validation_context nor session_ticket_keys";
  return refuse("type", `'${name}' is neither ${known}`);
}

function textOf(source: DataSource | undefined, path: string): string {
  if (source?.inlineString !== undefined) return source.inlineString;
  if (source?.inlineBytes !== undefined) return Buffer.from(source.inlineBytes).toString();
  return refuse(path, "must be inline");
}
