import { ClusterPool } from "../../src/proxy/cluster.ts";
import { Configuration } from "../../src/proxy/config.ts";
import type { ListenerSet, ProxyContext } from "../../src/proxy/context.ts";
import { createSinkCompiler } from "../../src/proxy/stats.ts";
import { createClientTls, createTlsCounters } from "../../src/net/tls-contexts.ts";
import { createLog } from "../../src/telemetry/log.ts";
import {
  createMetricRegistry,
  type OwnedMetricRegistry,
} from "../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../src/telemetry/standard-metrics.ts";
import type { XdsFeed, XdsResource, XdsUpdate } from "../../src/xds/feed.ts";
import { FakeClock } from "./fake-clock.ts";
import { FakeSecrets } from "./secrets.ts";

/** A feed whose other end is the test. */
export class FakeFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => undefined;
  readonly wishes: Map<string, "*" | ReadonlySet<string>> = new Map();
  /** All answers, in order, also of updates that take their time: the refusal, or "accepted". */
  readonly answers: string[] = [];

  /** Names that were asked for once more. */
  readonly refreshed: string[] = [];

  refresh(_typeUrl: string, name: string): void {
    this.refreshed.push(name);
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    this.wishes.set(typeUrl, names);
  }

  /** Returns the refusal, or "accepted"; "no answer" when it comes later. */
  send(
    typeUrl: string,
    resources: readonly XdsResource[],
    removed: readonly string[] = [],
  ): string {
    let answer = "no answer";
    this.onUpdate({
      typeUrl,
      version: resources.at(-1)?.version ?? "",
      resources,
      removed,
      respond: (refusal) => {
        answer = refusal ?? "accepted";
        this.answers.push(answer);
      },
    });
    return answer;
  }

  /** The names asked for, sorted. */
  wished(typeUrl: string): readonly string[] {
    const names = this.wishes.get(typeUrl);
    return names === undefined ? [] : names === "*" ? ["*"] : [...names].toSorted();
  }
}

export interface TestDataPlane {
  readonly feed: FakeFeed;
  readonly secrets: FakeSecrets;
  readonly clock: FakeClock;
  readonly metrics: OwnedMetricRegistry;
  readonly clusters: ClusterPool;
  readonly configuration: Configuration;
  readonly context: ProxyContext;
  readonly close: () => void;
}

/** Everything between xDS and listeners, without sockets. */
export function testDataPlane(
  listenersFor: (context: ProxyContext, secrets: FakeSecrets) => ListenerSet,
): TestDataPlane {
  const feed = new FakeFeed();
  const secrets = new FakeSecrets();
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const log = createLog({ level: "error", format: "text", clock, sink: () => undefined });
  const random = (): number => 0;
  const clusters = new ClusterPool({
    clock,
    log,
    random,
    metrics,
    secrets,
    resolver: { resolve: async () => ({ addresses: ["192.0.2.1"], ttlMs: undefined }) },
    clientTls: (tls, statName) =>
      createClientTls(tls, {
        secrets,
        log,
        counters: createTlsCounters(metrics, "envoy_cluster", { cluster_name: statName }),
      }),
  });
  const context: ProxyContext = {
    clock,
    log,
    metrics,
    random,
    clusters,
    routes: { get: (name) => configuration.get(name) },
    dialler: {
      dial() {
        throw new Error("nothing is dialled here");
      },
    },
    sinkFor: createSinkCompiler({
      metrics,
      peers: noPeers,
      openLog: () => () => undefined,
      context: () => context,
    }),
  };
  const configuration = new Configuration({
    feed,
    clusters,
    listeners: listenersFor(context, secrets),
    secrets,
    clock,
    log,
    metrics,
  });
  return {
    feed,
    secrets,
    clock,
    metrics,
    clusters,
    configuration,
    context,
    close() {
      configuration.close();
      clusters.close();
    },
  };
}
