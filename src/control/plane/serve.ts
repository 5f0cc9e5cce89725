import type { Clock, Timer } from "../../base/clock.ts";
import { listenHttp } from "../../net/http-listener.ts";
import {
  type GrpcCall,
  type GrpcMethod,
  type GrpcServer,
  type GrpcServerLimits,
  type GrpcServerTls,
  startGrpcServer,
} from "../../net/grpc-server.ts";
import { defaultGrpcKeepalive, type GrpcAddress, GrpcError } from "../../net/grpc.ts";
import { type CertificateAuthority, controlPlaneServerName } from "../../identity/authority.ts";
import { certificateService } from "../../identity/certificate-service.ts";
import { generateKey } from "../../identity/key.ts";
import { renewalDelayMs } from "../../identity/renewal.ts";
import { certificateRequestBudget, RequestBudget } from "../../identity/request-budget.ts";
import { BoundedLog } from "../../telemetry/bounded-log.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Node } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { grpcStatus } from "../../wire/grpc.ts";
import type { Authenticate } from "../../xds/ads-server.ts";
import type { ControlOptions } from "../options.ts";
import type { ControlMetrics } from "./control-metrics.ts";
import type { HeddleControlPlane } from "./heddle-control-plane.ts";
import { proxyIdOf } from "./proxy-snapshots.ts";

/** The control plane's listeners: xDS and certificates over TLS, plain xDS, metrics. */
export interface ServeOptions {
  readonly options: ControlOptions;
  readonly plane: HeddleControlPlane;
  readonly authority: CertificateAuthority;
  readonly metrics: ControlMetrics;
  readonly exposeMetrics: () => string;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ControlListeners {
  readonly secure: GrpcServer;
  readonly plain: GrpcServer | undefined;
  close(): Promise<void>;
}

const serverCertificateTtlMs = 24 * 3_600_000;
/** Of failed handshakes: whoever reaches the port can provoke them. The counter misses none. */
const handshakeLinesPerSecond = 10;
/** A sidecar has one connection, two while it renews it; many may share one address behind a NAT. */
const connectionsPerAddressMax = 256;
/** From the end of the handshake to a call with a token. */
const unauthenticatedMs = 10_000;

/** Opens all listeners, or none: rejects with the reason of the first that failed. */
export async function serve(context: ServeOptions): Promise<ControlListeners> {
  const { options, plane } = context;
  const { ads } = plane;
  const authenticate =
    (listener: "tls" | "plain"): Authenticate =>
    (call, node) =>
      authenticateProxy(call, node, { ...context, listener });
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(closers.map((closeOne) => closeOne()));
  };
  try {
    const certificate = serverCertificate(context);
    const { clock, log } = context;
    const failures = new BoundedLog({ clock, log, linesPerSecond: handshakeLinesPerSecond });
    const refusals = new BoundedLog({ clock, log, linesPerSecond: 1 });
    closers.push(() => Promise.resolve([failures, refusals].forEach((one) => one.close())));
    const secure = await listen(context, {
      logs: { failures, refusals },
      address: options.secureXds,
      tls: certificate.tls,
      methods: [...ads.methods(authenticate("tls")), certificates(context)],
    });
    const renewal = renew(context, certificate.notAfterMs, secure);
    closers.push(() => {
      renewal.cancel();
      return secure.close();
    });
    const listenPlain = async (address: GrpcAddress): Promise<GrpcServer> => {
      const methods = ads.methods(authenticate("plain"));
      const server = await listen(context, { address, methods });
      closers.push(() => server.close());
      return server;
    };
    const { plainXds, plainXdsSocket } = options;
    const plain = plainXds === undefined ? undefined : await listenPlain(plainXds);
    if (plainXdsSocket !== undefined) await listenPlain({ path: plainXdsSocket });
    if (options.metrics !== undefined) {
      const http = await listenHttp(options.metrics, (request, response) => {
        const isMetrics = request.url === "/metrics" && request.method === "GET";
        response.statusCode = isMetrics ? 200 : 404;
        response.setHeader("content-type", "text/plain; version=0.0.4; charset=utf-8");
        response.end(isMetrics ? context.exposeMetrics() : "see /metrics\n");
      });
      closers.push(() => http.close());
    }
    return { secure, plain, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Who calls: over TLS the holder of the bearer token, who may only speak for itself; on the plain
 * loopback listener and the Unix socket, where whoever can connect could read everything, what the
 * node says.
 */
export function authenticateProxy(
  call: GrpcCall,
  node: Node | undefined,
  context: Pick<ServeOptions, "metrics"> & {
    readonly plane: Pick<HeddleControlPlane, "tokens" | "isInstance">;
    readonly listener: "tls" | "plain";
  },
): string {
  const claimed = node === undefined ? undefined : nodeName(node.id);
  if (context.listener === "plain") {
    if (!call.isLoopback) throw new GrpcError(grpcStatus.permissionDenied, "loopback only");
    if (claimed === undefined || context.plane.isInstance(claimed)) return claimed ?? "";
    throw new GrpcError(grpcStatus.notFound, `no workload instance ${claimed}`);
  }
  const instance = context.plane.tokens.identify(call.metadata("authorization"));
  if (instance === undefined) {
    context.metrics.authenticationFailures.add();
    throw new GrpcError(grpcStatus.unauthenticated, "no token of a workload instance");
  }
  const proxyId = proxyIdOf(instance);
  if (claimed !== undefined && claimed !== proxyId) {
    throw new GrpcError(grpcStatus.permissionDenied, `the token of ${proxyId}, not of ${claimed}`);
  }
  call.markAuthenticated();
  return proxyId;
}

/** `cart-0.default` of `sidecar~10.0.0.1~cart-0.default~default.svc.cluster.local`. */
function nodeName(nodeId: string): string {
  return nodeId.split("~")[2] ?? nodeId;
}

function certificates({ authority, plane, metrics, clock, log }: ServeOptions): GrpcMethod {
  return certificateService({
    authority,
    log,
    budget: new RequestBudget({ ...certificateRequestBudget, clock }),
    onLimited: () => metrics.limit("certificate-requests"),
    authenticate: (call) => {
      metrics.csrs.add();
      const instance = plane.tokens.identify(call.metadata("authorization"));
      if (instance === undefined) {
        metrics.authenticationFailures.add();
        throw new GrpcError(grpcStatus.unauthenticated, "no token of a workload instance");
      }
      call.markAuthenticated();
      const { namespace, serviceAccount } = instance;
      return { instance: proxyIdOf(instance), namespace, serviceAccount };
    },
    onIssued: () => {
      metrics.issued.add();
      plane.countCertificate("issued");
    },
    onRefused: () => {
      metrics.refused.add();
      plane.countCertificate("refused");
    },
  });
}

function listen(
  { clock, log, metrics }: ServeOptions,
  server: {
    readonly address: GrpcAddress;
    readonly tls?: GrpcServerTls;
    readonly methods: readonly GrpcMethod[];
    /** Of what anybody who reaches the port can provoke. */
    readonly logs?: { readonly failures: BoundedLog; readonly refusals: BoundedLog };
  },
): Promise<GrpcServer> {
  const { address, tls, methods, logs } = server;
  return startGrpcServer({
    listen: address,
    ...(tls === undefined ? {} : { tls }),
    methods,
    limits: listenerLimits(address, tls === undefined ? "plain" : "tls"),
    keepalive: defaultGrpcKeepalive,
    clock,
    log,
    onLimit: (limit, peer) => {
      if (peer !== undefined) logs?.refusals.warn("connection closed by a limit", { peer, limit });
      metrics.limit(limit);
    },
    onHandshakeFailure: ({ peer, sni, reason }) => {
      const presented = "nothing; callers are known by tokens";
      logs?.failures.warn("handshake failed", { peer, sni: sni ?? "none", presented, reason });
      metrics.limit("handshake");
    },
  });
}

/** What a stranger who reaches the listener may hold of it. */
export function listenerLimits(
  listen: GrpcAddress,
  listener: "tls" | "plain",
): Pick<GrpcServerLimits, "connectionsPerAddressMax" | "unauthenticatedMs"> {
  const isShared = "path" in listen || /^(127\.|::1$)/.test(listen.address);
  return {
    // On loopback every sidecar comes from the same address.
    connectionsPerAddressMax: isShared ? 0 : connectionsPerAddressMax,
    // Without TLS there is no token to wait for.
    unauthenticatedMs: listener === "plain" ? 0 : unauthenticatedMs,
  };
}

function serverCertificate({ authority, options }: ServeOptions): {
  readonly tls: GrpcServerTls;
  readonly notAfterMs: number;
} {
  const key = generateKey();
  const { address } = options.secureXds;
  const dns = [controlPlaneServerName, `istiod.${options.rootNamespace}.svc`, "localhost"];
  const issued = authority.issueServer(
    key.publicKey,
    { dns: [...new Set(dns)], addresses: [address] },
    serverCertificateTtlMs,
  );
  const tls = { key: key.privateKeyPem, chain: issued.chainPem };
  return { tls, notAfterMs: issued.notAfterMs };
}

/** Renews the server's certificate for as long as it listens. */
function renew(context: ServeOptions, notAfterMs: number, server: GrpcServer): Timer {
  const { clock } = context;
  let timer: Timer;
  const schedule = (untilMs: number): void => {
    const certificate = { nowMs: clock.nowMs(), notAfterMs: untilMs };
    timer = clock.schedule(renewalDelayMs(certificate, Math.random()), () => {
      const next = serverCertificate(context);
      server.replaceTls(next.tls);
      schedule(next.notAfterMs);
    });
  };
  schedule(notAfterMs);
  return { cancel: () => timer.cancel() };
}
