/**
 * TLS as xDS configures it, ready for connections: server contexts from DownstreamTlsContext, client
 * contexts from UpstreamTlsContext. A changed secret makes a new OpenSSL context for new handshakes;
 * connections keep theirs. A context whose secrets have not arrived, or that OpenSSL refuses, fails
 * handshakes.
 */
import { assert } from "../base/assert.ts";
import { HeddleError } from "../base/error.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Labels, MetricRegistry } from "../telemetry/metrics.ts";
import type {
  DownstreamTlsContext,
  UpstreamTlsContext,
} from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { ChannelError } from "./channel.ts";
import type { ClientTls } from "./dialler.ts";
import type { SecretSource } from "./secret-source.ts";
import { clientContexts, serverContexts, TlsContext, type TlsCounters } from "./tls/context.ts";
import type { TlsFailureKind } from "./tls/failure.ts";
import { planResumption } from "./tls/resumption.ts";

export type { TlsCounters } from "./tls/context.ts";
export { readTicketKeys } from "./tls/resumption.ts";

export interface TlsDependencies {
  readonly secrets: SecretSource;
  readonly log: Logger;
  readonly counters: TlsCounters;
  /** Hears of each handshake with a server that failed, also of those whose connection nobody misses. */
  readonly onFailure?: (error: ChannelError) => void;
}

export interface ServerTlsDependencies extends TlsDependencies {
  /** Server names of the filter chain: a session is not resumed on a chain that has others. */
  readonly serverNames?: readonly string[];
  /** The whole chain of clients is asked for: sessions, which keep its first alone, are not resumed. */
  readonly keepsPeerChain?: boolean;
}

/** A downstream TLS context; opaque to everyone but `startServerHandshake`. */
export interface ServerTls {
  readonly kind: "server-tls";
  /** Stops following secrets. Connections made with it go on. */
  close(): void;
}

/** Throws `tls-unsupported` for what cannot be honoured: the resource must be refused. */
export function createServerTls(
  config: DownstreamTlsContext,
  dependencies: ServerTlsDependencies,
): ServerTls {
  if (config.requireSni === true) throw unsupported("require_sni");
  if (config.ocspStaplePolicy !== 0) throw unsupported("ocsp_staple_policy");
  const side = {
    isClient: false,
    scansAll: config.fullScanCertsOnSniMismatch === true,
    prefersOwnCiphers: !config.preferClientCiphers,
  };
  return made(new TlsContext(config.commonTlsContext, side, dependencies), (context) =>
    serverSideOf(config, context, dependencies),
  );
}

/** What is refused follows no secrets. */
function made<Tls>(context: TlsContext, make: (context: TlsContext) => Tls): Tls {
  try {
    return make(context);
  } catch (thrown) {
    context.close();
    throw thrown;
  }
}

function serverSideOf(
  config: DownstreamTlsContext,
  context: TlsContext,
  { secrets, serverNames = [], keepsPeerChain: isAskedFor }: ServerTlsDependencies,
): ServerTls {
  const needsChain = context.plan.spiffe?.needsChain === true;
  const keepsPeerChain = needsChain || isAskedFor === true;
  const resumption = keepsPeerChain ? undefined : planResumption(config, serverNames, secrets);
  const { spiffe, acceptsUntrusted, peerNames, pins } = context.plan;
  // As Envoy: where a domain, a name or a key is asked for, who has no certificate has none of them.
  const isAsked = !acceptsUntrusted && (peerNames !== undefined || pins !== undefined);
  const requiresCertificate =
    config.requireClientCertificate === true || spiffe !== undefined || isAsked;
  // Clients are asked for a certificate, and refused, by OpenSSL, which knows trust anchors alone.
  if (context.plan.pins !== undefined && !context.plan.canVerify) {
    throw unsupported("hashes of clients' certificates without a trusted CA");
  }
  if (context.plan.acceptsUntrusted && !context.plan.canVerify) {
    throw unsupported("ACCEPT_UNTRUSTED of clients without a trusted CA");
  }
  if (requiresCertificate && !context.plan.canVerify) {
    throw unsupported("require_client_certificate without a trusted CA");
  }
  const server = { kind: "server-tls", close: () => context.close() } as const;
  serverContexts.set(server, { context, requiresCertificate, resumption, keepsPeerChain });
  return server;
}

/** Throws `tls-unsupported` for what cannot be honoured. `close()` stops following secrets. */
export function createClientTls(
  config: UpstreamTlsContext,
  dependencies: TlsDependencies,
): ClientTls & { close(): void } {
  if (config.allowRenegotiation) throw unsupported("allow_renegotiation");
  if (config.enforceRsaKeyUsage === true) throw unsupported("enforce_rsa_key_usage");
  const context = new TlsContext(config.commonTlsContext, { isClient: true }, dependencies);
  return made(context, () => clientSideOf(config, context));
}

function clientSideOf(
  config: UpstreamTlsContext,
  context: TlsContext,
): ClientTls & { close(): void } {
  // As Envoy: a name that nobody vouches for is anybody's.
  if (config.autoSniSanValidation && !context.plan.canVerify) {
    throw unsupported("auto_sni_san_validation without a trusted CA");
  }
  const { alpn } = context.plan;
  const client = { kind: "client-tls", alpn, close: () => context.close() } as const;
  const sni = config.sni === "" ? undefined : config.sni;
  clientContexts.set(client, {
    context,
    sni,
    // A session keeps the server's own certificate alone.
    sessionsMax: context.plan.spiffe?.needsChain === true ? 0 : (config.maxSessionKeys ?? 1),
    usesHostname: config.autoHostSni,
    expectsSni: config.autoSniSanValidation,
    expectedName: undefined,
  });
  return client;
}

/** Whether servers are asked for by the names of their endpoints (`auto_host_sni`). */
export function asksByHostname(tls: ClientTls): boolean {
  return clientContexts.get(tls)?.usesHostname === true;
}

export interface ServerName {
  /** To ask for; undefined: what the context says. */
  readonly sni: string | undefined;
  /** That the server's certificate must have, beside what the context asks; undefined: any. */
  readonly expected: string | undefined;
}

/** The same context for a server of this name. It is closed with the one that it comes from. */
export function withServerName(tls: ClientTls, { sni, expected }: ServerName): ClientTls {
  const side = clientContexts.get(tls);
  assert(side !== undefined, "a client TLS context of another make");
  const made = { kind: "client-tls", alpn: tls.alpn } as const;
  clientContexts.set(made, { ...side, sni: sni ?? side.sni, expectedName: expected });
  return made;
}

/** `prefix` is `envoy_listener` or `envoy_cluster`. */
export function createTlsCounters(
  metrics: MetricRegistry,
  prefix: string,
  labels: Labels,
): TlsCounters {
  const counter = (name: string, help: string): (() => void) => {
    const found = metrics.counter(`${prefix}_ssl_${name}`, help, labels);
    return () => found.add();
  };
  const handshakes = counter("handshake", "TLS handshakes that succeeded");
  const reused = counter("session_reused", "TLS handshakes that went on from an earlier session");
  const errors = counter("connection_error", "TLS handshakes that failed for other reasons");
  const noCertificate = counter("fail_verify_no_cert", "Peers that presented no certificate");
  const badCertificate = counter("fail_verify_error", "Peer certificates that did not verify");
  const wrongName = counter("fail_verify_san", "Peer certificates with another identity");
  const timeouts = counter("handshake_timeout", "TLS handshakes that took too long");
  const byKind: { readonly [Kind in TlsFailureKind]: () => void } = {
    expired: badCertificate,
    "unknown-root": badCertificate,
    "bad-certificate": badCertificate,
    "wrong-identity": wrongName,
    "no-certificate": noCertificate,
    timeout: timeouts,
    plaintext: errors,
    protocol: errors,
    closed: errors,
    "no-secret": errors,
  };
  const onHandshake = (isResumed: boolean): void => {
    handshakes();
    if (isResumed) reused();
  };
  return { onHandshake, onFailure: (kind) => byKind[kind]() };
}

function unsupported(field: string): HeddleError {
  return new HeddleError("tls-unsupported", `${field} is not supported`);
}
