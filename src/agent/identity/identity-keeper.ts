/**
 * The sidecar's own key and certificate: made here, kept on disk (0600), renewed at half-life. The
 * private key leaves this process only towards its own proxy. As long as a certificate lives, a
 * sidecar starts without a certificate authority.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";

import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { SecretSource, TlsSecret } from "../../net/secret-source.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { StateFiles } from "../io/state-files.ts";

export interface IdentityKeeperOptions {
  readonly files: StateFiles;
  /** Whose certificate it must be; one on disk for somebody else is not used. */
  readonly spiffeId: string;
  /** Makes a new key and has it certified; rejects with the reason. */
  readonly request: () => Promise<StoredIdentity>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Names of the two secrets that every TLS context of the mesh refers to. */
export const secretNames = { certificate: "default", roots: "ROOTCA" } as const;

const fileName = "identity.json";
const firstRetryMs = 500;
const longestRetryMs = 30_000;
/** However short certificates live: nobody asks more often than this. */
const renewalLeastMs = 1000;

/** What is kept on disk; chain leaf first, without the root. */
export interface StoredIdentity {
  readonly privateKeyPem: string;
  readonly chainPem: string;
  readonly rootPem: string;
}

interface Identity extends StoredIdentity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** As Node writes them: `URI:spiffe://…`. */
  readonly alternativeNames: string;
}

export class IdentityKeeper implements SecretSource {
  readonly #options: IdentityKeeperOptions;
  readonly #listeners = new Set<(name: string) => void>();
  #identity: Identity | undefined;
  #timer: Timer | undefined;
  #failures = 0;
  #lastFailure: string | undefined;
  /** Until there is another: when the certificate that was found on disk expired. */
  #expiredOnDiskMs: number | undefined;
  #isClosed = false;

  constructor(options: IdentityKeeperOptions) {
    this.#options = options;
    const { metrics, clock } = options;
    const expiry = metrics.gauge("cert_expiry_seconds", "Time until the certificate expires.", {
      resource_name: secretNames.certificate,
    });
    this.#onRefresh = () => {
      if (this.#identity !== undefined) {
        expiry.set((this.#identity.notAfterMs - clock.nowMs()) / 1000);
      }
    };
  }

  readonly #onRefresh: () => void;

  /** Brings gauges up to date, before they are read. */
  refreshMetrics(): void {
    this.#onRefresh();
  }

  /** Takes what the disk has, then renews for as long as it is open. */
  start(): void {
    const identity = this.#load();
    this.#identity = identity;
    if (identity !== undefined) this.#tell();
    this.#schedule(identity === undefined ? 0 : this.#renewInMs(identity, identity.notBeforeMs));
  }

  get(name: string): TlsSecret | undefined {
    const identity = this.#identity;
    if (identity === undefined) return undefined;
    if (name === secretNames.roots) return { kind: "validation", trustedCaPem: identity.rootPem };
    if (name !== secretNames.certificate) return undefined;
    return {
      kind: "certificate",
      chainPem: identity.chainPem,
      privateKeyPem: identity.privateKeyPem,
    };
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** End of the certificate's validity; undefined without one. */
  get notAfterMs(): number | undefined {
    return this.#identity?.notAfterMs ?? this.#expiredOnDiskMs;
  }

  /** Why there is no usable certificate, or undefined when there is one. */
  get missing(): string | undefined {
    const identity = this.#identity;
    const notAfterMs = identity?.notAfterMs ?? this.#expiredOnDiskMs;
    if (notAfterMs === undefined) {
      return `no certificate yet${this.#lastFailure === undefined ? "" : `: ${this.#lastFailure}`}`;
    }
    if (notAfterMs > this.#options.clock.nowMs()) return undefined;
    const since = new Date(notAfterMs).toISOString();
    return `the certificate expired at ${since} and cannot be renewed: ${this.#lastFailure ?? "the authority has not answered"}`;
  }

  /** The control plane is back: after failures there is no need to wait any longer. */
  hurry(): void {
    if (this.#failures === 0) return;
    this.#timer?.cancel();
    this.#schedule(this.#options.random() * firstRetryMs);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer = this.#options.clock.schedule(delayMs, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const { request, log, random, metrics } = this.#options;
    const outcomes = (outcome: string): void =>
      metrics
        .counter("heddle_agent_certificate_requests_total", "Certificate requests by outcome.", {
          outcome,
        })
        .add(1);
    try {
      const { privateKeyPem, chainPem, rootPem } = await request();
      if (this.#isClosed) return;
      const identity = identityOf({ privateKeyPem, chainPem, rootPem });
      this.#identity = identity;
      this.#failures = 0;
      this.#lastFailure = undefined;
      outcomes("issued");
      log.info("certificate issued", {
        serial: new X509Certificate(chainPem).serialNumber,
        expires: new Date(identity.notAfterMs).toISOString(),
      });
      this.#tell();
      this.#schedule(this.#renewInMs(identity, this.#options.clock.nowMs()));
      this.#store({ privateKeyPem, chainPem, rootPem });
    } catch (thrown) {
      if (this.#isClosed) return;
      outcomes("failed");
      this.#failures += 1;
      this.#lastFailure = messageOf(thrown);
      const ceilingMs = Math.min(
        firstRetryMs * 2 ** Math.min(this.#failures - 1, 10),
        longestRetryMs,
      );
      const retryMs = Math.round(ceilingMs / 2 + (random() * ceilingMs) / 2);
      log.warn("certificate request failed", { reason: this.#lastFailure, retryMs });
      this.#timer?.cancel();
      this.#schedule(retryMs);
    }
  }

  /** A full disk takes nothing but the next start without an authority. */
  #store(identity: StoredIdentity): void {
    const { files, log } = this.#options;
    try {
      files.write(fileName, JSON.stringify(identity));
    } catch (thrown) {
      log.error("the certificate cannot be kept on disk", { reason: messageOf(thrown) });
    }
  }

  /**
   * Half of the lifetime, up to a tenth of it earlier, so that a fleet does not renew at once. A
   * certificate is valid from before it was issued (clocks differ): that part is no lifetime.
   */
  #renewInMs({ notAfterMs }: Identity, fromMs: number): number {
    const { clock, random } = this.#options;
    const lifetimeMs = notAfterMs - fromMs;
    const atMs = fromMs + lifetimeMs / 2 - (random() * lifetimeMs) / 10;
    return Math.max(renewalLeastMs, atMs - clock.nowMs());
  }

  #load(): Identity | undefined {
    const { files, log, clock, spiffeId } = this.#options;
    try {
      const stored: unknown = JSON.parse(files.read(fileName)?.toString("utf8") ?? "null");
      if (!isStored(stored)) return undefined;
      createPrivateKey(stored.privateKeyPem);
      const identity = identityOf(stored);
      if (identity.alternativeNames !== `URI:${spiffeId}`) {
        log.info("the certificate on disk is for another identity", {
          names: identity.alternativeNames,
          wanted: spiffeId,
        });
        return undefined;
      }
      if (identity.notAfterMs <= clock.nowMs()) {
        this.#expiredOnDiskMs = identity.notAfterMs;
        log.warn("the certificate on disk has expired", {
          expired: new Date(identity.notAfterMs).toISOString(),
        });
        return undefined;
      }
      return identity;
    } catch (thrown) {
      log.warn("the certificate on disk cannot be used", { reason: messageOf(thrown) });
      return undefined;
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) {
      listener(secretNames.certificate);
      listener(secretNames.roots);
    }
  }
}

function isStored(value: unknown): value is StoredIdentity {
  return (
    typeof value === "object" &&
    value !== null &&
    "chainPem" in value &&
    "rootPem" in value &&
    "privateKeyPem" in value &&
    typeof value.chainPem === "string" &&
    typeof value.rootPem === "string" &&
    typeof value.privateKeyPem === "string"
  );
}

function identityOf(stored: StoredIdentity): Identity {
  const leaf = new X509Certificate(stored.chainPem);
  return {
    ...stored,
    notBeforeMs: Date.parse(leaf.validFrom),
    notAfterMs: Date.parse(leaf.validTo),
    alternativeNames: leaf.subjectAltName ?? "",
  };
}
