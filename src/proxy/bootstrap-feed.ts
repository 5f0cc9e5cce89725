/**
 * The configuration that a bootstrap asks for, running: its static resources, the stream to its
 * control plane, files it names, and the services its secrets come from.
 */
import type { Clock } from "../base/clock.ts";
import { openGrpcChannel } from "../net/grpc-client.ts";
import { formatGrpcAddress } from "../net/grpc.ts";
import type { SecretSource } from "../net/secret-source.ts";
import type { Log } from "../telemetry/log.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { AdsClient, type AdsClientOptions } from "../xds/ads-client.ts";
import { controlPlaneSeries } from "../xds/control-plane-series.ts";
import type { SecretOrigin, XdsFeed } from "../xds/feed.ts";
import type { BootstrapConfig } from "./bootstrap.ts";
import { DynamicFeed, type FeedSource } from "./bootstrap/dynamic-feed.ts";
import type { DynamicSource } from "./bootstrap/dynamic-plan.ts";
import { FileFeed, type FileFeedOptions } from "./bootstrap/file-feed.ts";
import { type GrpcServerPlan, planGrpcCluster } from "./bootstrap/grpc-server.ts";
import { BootstrapSecrets } from "./bootstrap/secrets.ts";

export interface BootstrapFeedOptions extends Pick<
  FileFeedOptions,
  "parseYaml" | "readText" | "watch"
> {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: MetricRegistry;
}

export interface BootstrapFeed {
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  /** Resolves when what stands in the bootstrap was accepted or refused. */
  readonly staticsApplied: Promise<void>;
  /** Connects to the control plane, once the proxy has its feed. */
  start(): void;
  close(): void;
}

const secretsPath = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

export function openBootstrapFeed(
  config: BootstrapConfig,
  options: BootstrapFeedOptions,
): BootstrapFeed {
  const parts = new Parts(config, options);
  const { ads } = config.dynamic;
  const stream = ads && parts.client(ads.server, { variant: ads.variant, ...told(options) });
  const sources = new Map<string, FeedSource>();
  for (const [typeUrl, source] of config.dynamic.sources) {
    const feed = parts.feedOf(source, stream);
    const { initialFetchTimeoutMs } = source;
    if (feed !== undefined) sources.set(typeUrl, { feed, initialFetchTimeoutMs });
  }
  const log = options.log.area("secrets");
  const secrets = new BootstrapSecrets({
    statics: config.staticSecrets,
    ads: stream,
    open: (origin) => parts.secretsOf(origin),
    onProblem: (secret, reason) => log.error("a secret cannot be had", { secret, reason }),
  });
  const feed = new DynamicFeed({
    statics: config.statics,
    sources,
    ads: stream,
    wantSecrets: (names) => secrets.want(names),
    onSecrets: (update) => secrets.apply(update),
    clock: options.clock,
    log: options.log.area("xds"),
  });
  return {
    feed,
    secrets,
    staticsApplied: feed.staticsApplied,
    start: () => stream?.start(),
    close: () => {
      feed.close();
      parts.close();
    },
  };
}

function told({ metrics }: BootstrapFeedOptions): Pick<AdsClientOptions, "onStatus"> {
  return { onStatus: controlPlaneSeries(metrics) };
}

/** Opens what the rest is made of, and closes all of it. */
class Parts {
  readonly #config: BootstrapConfig;
  readonly #options: BootstrapFeedOptions;
  readonly #files = new Map<string, FileFeed>();
  readonly #closers: (() => void)[] = [];

  constructor(config: BootstrapConfig, options: BootstrapFeedOptions) {
    this.#config = config;
    this.#options = options;
  }

  client(
    server: GrpcServerPlan,
    how: Pick<AdsClientOptions, "variant" | "path" | "onStatus">,
  ): AdsClient {
    const { clock, log } = this.#options;
    const { tls, metadata, connectTimeoutMs } = server;
    const channel = openGrpcChannel({
      target: server.target,
      keepalive: server.keepalive,
      clock,
      ...(tls === undefined ? {} : { tls: () => tls }),
      ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    });
    const client = new AdsClient({
      channel,
      serverName: `${server.cluster} (${formatGrpcAddress(server.target)})`,
      node: this.#config.node,
      metadata: () => metadata,
      clock,
      log: log.area("xds"),
      ...how,
    });
    this.#closers.push(() => {
      client.close();
      channel.close();
    });
    return client;
  }

  feedOf({ from }: DynamicSource, ads: XdsFeed | undefined): XdsFeed | undefined {
    return from.kind === "ads" ? ads : this.#file(from.path);
  }

  /** Of its own: each feed has one listener. Throws where there is no such service. */
  secretsOf(origin: SecretOrigin): XdsFeed {
    if (origin.kind === "file") return this.#open(origin.path);
    const cluster = origin.kind === "service" ? origin.cluster : "";
    const server = planGrpcCluster(cluster, this.#config.clusters, "sds_config");
    const client = this.client(server, { variant: "sotw", path: secretsPath });
    client.start();
    return client;
  }

  close(): void {
    for (const close of this.#closers) close();
  }

  /** One for all types of a file. */
  #file(path: string): FileFeed {
    const feed = this.#files.get(path) ?? this.#open(path);
    this.#files.set(path, feed);
    return feed;
  }

  #open(path: string): FileFeed {
    const { parseYaml, readText, watch, log } = this.#options;
    const feed = new FileFeed({ path, parseYaml, readText, watch, log: log.area("xds") });
    this.#closers.push(() => feed.close());
    return feed;
  }
}
