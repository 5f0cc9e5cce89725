import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { defaultSidecarPorts, type SidecarOptions } from "../../src/base/sidecar-options.ts";
import type { SocketAddress } from "../../src/base/socket-address.ts";
import { CertificateAuthority, controlPlaneServerName } from "../../src/identity/authority.ts";
import { BearerTokens } from "../../src/identity/bearer-tokens.ts";
import {
  certificateService,
  type CertificateSubject,
} from "../../src/identity/certificate-service.ts";
import { certificateRequestBudget, RequestBudget } from "../../src/identity/request-budget.ts";
import { generateKey } from "../../src/identity/key.ts";
import { openRoot } from "../../src/identity/root-store.ts";
import { startGrpcServer, type GrpcServer } from "../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "../../src/net/grpc.ts";
import { grpcStatus } from "../../src/wire/grpc.ts";
import { AdsServer, type ProxyAnswer } from "../../src/xds/ads-server.ts";
import type { Snapshot } from "../../src/xds/snapshot.ts";
import { freePort } from "./free-port.ts";
import { silentLog } from "./silent-log.ts";

/** A certificate authority and an ADS server for one sidecar, `cart-0.default`, on loopback. */
export interface TestControlPlane {
  readonly folder: string;
  readonly answers: readonly ProxyAnswer[];
  setSnapshot(snapshot: Snapshot): void;
  /** Nobody listens any more; `start()` listens on the same port again. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Options of a sidecar of this control plane; ports are free ones. */
  sidecarOptions(changes?: Partial<SidecarOptions>): Promise<SidecarOptions>;
  close(): Promise<void>;
}

const token = "a-token-of-enough-bytes";
const nodeId = "sidecar~127.0.0.1~cart-0.default~default.svc.cluster.local";
const subject = { instance: "cart-0.default", namespace: "default", serviceAccount: "cart" };

export async function startTestControlPlane(
  certificateTtlMs = 86_400_000,
): Promise<TestControlPlane> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-control-"));
  const trustDomain = "cluster.local";
  const root = openRoot({
    stateDir: join(folder, "ca"),
    trustDomain,
    mesh: "test",
    nowMs: Date.now(),
  });
  const authority = new CertificateAuthority({
    root,
    trustDomain,
    certificateTtlMs,
    clock: systemClock,
  });
  writeFileSync(join(folder, "root.pem"), authority.rootPem);
  writeFileSync(join(folder, "token"), token, { mode: 0o600 });
  const answers: ProxyAnswer[] = [];
  const ads = new AdsServer({
    clock: systemClock,
    log: silentLog,
    events: { onAnswer: (_, answer) => answers.push(answer) },
  });
  const port = await freePort();
  let server: GrpcServer | undefined;
  const plane: TestControlPlane = {
    folder,
    answers,
    setSnapshot: (snapshot) => ads.setSnapshot(subject.instance, snapshot),
    async stop() {
      await server?.close();
      server = undefined;
    },
    async start() {
      server = await listen(authority, ads, { address: "127.0.0.1", port });
    },
    sidecarOptions: (changes) => optionsFor(folder, port, changes),
    async close() {
      await plane.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await plane.start();
  return plane;
}

function authenticate(authorization: string | undefined): CertificateSubject {
  const tokens = new BearerTokens<CertificateSubject>();
  const sha256 = createHash("sha256").update(token).digest("hex");
  tokens.replace([{ sha256, holder: subject }]);
  const found = tokens.identify(authorization);
  if (found !== undefined) return found;
  throw new GrpcError(grpcStatus.unauthenticated, "unknown token");
}

function listen(
  authority: CertificateAuthority,
  ads: AdsServer,
  address: SocketAddress,
): Promise<GrpcServer> {
  const key = generateKey();
  const names = { dns: [controlPlaneServerName], addresses: [] };
  const own = authority.issueServer(key.publicKey, names, 3_600_000);
  return startGrpcServer({
    listen: address,
    tls: { key: key.privateKeyPem, chain: own.chainPem },
    methods: [
      ...ads.methods((call) => authenticate(call.metadata("authorization")).instance),
      certificateService({
        authority,
        log: silentLog,
        budget: new RequestBudget({ ...certificateRequestBudget, clock: systemClock }),
        authenticate: (call) => authenticate(call.metadata("authorization")),
      }),
    ],
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
  });
}

async function optionsFor(
  folder: string,
  port: number,
  changes: Partial<SidecarOptions> = {},
): Promise<SidecarOptions> {
  const ports: Record<keyof typeof defaultSidecarPorts, number> = { ...defaultSidecarPorts };
  for (const name of [
    "admin",
    "outbound",
    "inbound",
    "mergedMetrics",
    "ready",
    "dns",
    "metrics",
  ] as const) {
    ports[name] = await freePort();
  }
  return {
    nodeId,
    instance: {
      name: "cart-0",
      workload: "cart",
      namespace: "default",
      serviceAccount: "cart",
      labels: { app: "cart" },
    },
    dataPlane: "heddle",
    control: {
      address: `127.0.0.1:${port}`,
      rootFile: join(folder, "root.pem"),
      tokenFile: join(folder, "token"),
    },
    stateDir: join(folder, "state"),
    capture: "explicit",
    ports,
    statusAddress: "127.0.0.1",
    trustDomain: "cluster.local",
    accessLogFile: join(folder, "access.log"),
    logLevel: "info",
    logFormat: "text",
    ...changes,
  };
}
