import assert from "node:assert/strict";
import test from "node:test";

import { testDataPlane } from "../../test/support/data-plane.ts";
import { type Fields, message } from "../../test/support/message.ts";
import { connectionView, requestView } from "../../test/support/request-view.ts";
import { Cluster, Cluster_DiscoveryType } from "../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../wire/gen/ts/envoy/config/route/v3/route.ts";
import { HttpConnectionManager } from "../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { CaresDnsResolverConfig } from "../wire/gen/ts/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.ts";
import { UpstreamTlsContext } from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { typeUrls, type XdsResource } from "../xds/feed.ts";
import { filterUrls } from "./config/listener-plan.ts";
import type { ListenerSet, UpstreamEndpoint } from "./context.ts";

/** Writes down what it is told. */
class FakeListeners implements ListenerSet {
  readonly log: string[] = [];
  /** Why sockets cannot be opened. */
  refusal: string | undefined;
  /** Ends what listeners prepare; undefined: they prepare nothing. */
  onBegun: (() => void) | undefined;
  prepares = false;

  prepare(listener: Listener): ReturnType<ListenerSet["prepare"]> {
    return {
      open: () =>
        this.refusal === undefined ? undefined : Promise.reject(new Error(this.refusal)),
      begin: this.prepares
        ? (onBegun) => {
            this.log.push(`begin ${listener.name} ${listener.statPrefix}`);
            this.onBegun = onBegun;
            return true;
          }
        : undefined,
      start: () => void this.log.push(`start ${listener.name} ${listener.statPrefix}`),
      discard: () => void this.log.push(`discard ${listener.name} ${listener.statPrefix}`),
    };
  }
  checkFilter(): void {}
  remove(name: string): void {
    this.log.push(`remove ${name}`);
  }
  bound(): [] {
    return [];
  }
  async drain(): Promise<void> {}
  resetSlowest(): void {}
  async close(): Promise<void> {}
}

function plane() {
  const listeners = new FakeListeners();
  return { listeners, ...testDataPlane(() => listeners) };
}

function resource<T extends { readonly name?: string }>(
  codec: { encode(value: T): { finish(): Uint8Array }; fromPartial(object: never): T },
  fields: Fields<NoInfer<T>>,
  version = "1",
): XdsResource {
  const value = message(codec, fields);
  return { name: value.name ?? "", version, bytes: codec.encode(value).finish() };
}

const staticCluster = (name: string): XdsResource => resource(Cluster, { name });

const edsCluster = (name: string, connectSeconds = 1n): XdsResource =>
  resource(Cluster, {
    name,
    type: Cluster_DiscoveryType.EDS,
    connectTimeout: { seconds: connectSeconds, nanos: 0 },
  });

function endpoints(clusterName: string, ...addresses: string[]): XdsResource {
  const value = message(ClusterLoadAssignment, {
    clusterName,
    endpoints: [
      {
        lbEndpoints: addresses.map((address) => ({
          endpoint: { address: { socketAddress: { address, portValue: 80 } } },
        })),
      },
    ],
  });
  return { name: clusterName, version: "1", bytes: ClusterLoadAssignment.encode(value).finish() };
}

function httpListener(routes: string, statPrefix = "one"): XdsResource {
  const manager = message(HttpConnectionManager, { rds: { routeConfigName: routes } });
  return resource(Listener, {
    name: "L",
    statPrefix,
    filterChains: [
      {
        filters: [
          {
            typedConfig: {
              typeUrl: filterUrls.http,
              value: HttpConnectionManager.encode(manager).finish(),
            },
          },
        ],
      },
    ],
  });
}

function routes(name: string, cluster: string): XdsResource {
  return resource(RouteConfiguration, {
    name,
    virtualHosts: [
      { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster } }] },
    ],
  });
}

const choice = { connection: connectionView(), hash: undefined, avoid: undefined };

test("Configuration asks for clusters and listeners, then for what they name", () => {
  const { configuration, feed, close } = plane();
  configuration.start();
  assert.deepEqual(feed.wished(typeUrls.cluster), ["*"]);
  assert.deepEqual(feed.wished(typeUrls.listener), ["*"]);
  feed.send(typeUrls.cluster, [edsCluster("a"), edsCluster("b"), staticCluster("c")]);
  assert.deepEqual(feed.wished(typeUrls.endpoint), ["a", "b"]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  assert.deepEqual(feed.wished(typeUrls.route), ["80"]);
  feed.send(typeUrls.cluster, [], ["a"]);
  assert.deepEqual(feed.wished(typeUrls.endpoint), ["b"]);
  close();
});

test("Configuration is ready once everything of the first answer serves, and says what it waits for", async () => {
  const { configuration, feed, listeners, close } = plane();
  let isReady = false;
  configuration.onReady = () => {
    isReady = true;
  };
  configuration.start();
  assert.match(configuration.waitingFor ?? "", /no clusters/);
  feed.send(typeUrls.cluster, [edsCluster("a")]);
  assert.match(configuration.waitingFor ?? "", /no listeners/);
  feed.send(typeUrls.listener, [httpListener("80")]);
  assert.match(configuration.waitingFor ?? "", /endpoints or secrets of a/);
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
  assert.match(configuration.waitingFor ?? "", /listener L waits for routes 80/);
  assert.deepEqual(listeners.log, []);
  feed.send(typeUrls.route, [routes("80", "a")]);
  assert.deepEqual(listeners.log, ["start L one"]);
  await Promise.resolve();
  await Promise.resolve();
  assert.equal(isReady, true);
  assert.equal(configuration.waitingFor, undefined);
  close();
});

test("Configuration waits for what a listener prepares, once all clusters are there", async () => {
  const { configuration, feed, listeners, close } = plane();
  configuration.start();
  listeners.prepares = true;
  feed.send(typeUrls.cluster, [edsCluster("a")]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  assert.deepEqual(listeners.log, []);
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
  assert.deepEqual(listeners.log, ["begin L one"]);
  assert.match(configuration.waitingFor ?? "", /listener L prepares for requests/);
  listeners.onBegun?.();
  assert.deepEqual(listeners.log, ["begin L one", "start L one"]);
  await settle();
  assert.equal(configuration.isReady, true);
  // What was replaced meanwhile tells nobody.
  listeners.log.length = 0;
  feed.send(typeUrls.listener, [httpListener("80", "two")]);
  const late = listeners.onBegun;
  feed.send(typeUrls.listener, [httpListener("80", "three")]);
  late?.();
  listeners.onBegun?.();
  assert.deepEqual(listeners.log, [
    "begin L two",
    "discard L two",
    "begin L three",
    "start L three",
  ]);
  close();
});

test("Configuration is not ready while a listener cannot be opened, and tries again", async () => {
  const { configuration, feed, listeners, clock, close } = plane();
  configuration.start();
  listeners.refusal = "0.0.0.0:15006 is in use";
  feed.send(typeUrls.cluster, [staticCluster("a")]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  await settle();
  assert.equal(feed.answers.at(-1), "L: 0.0.0.0:15006 is in use");
  assert.equal(configuration.waitingFor, "listener L cannot start: 0.0.0.0:15006 is in use");
  assert.deepEqual(configuration.refusals(), ["L: 0.0.0.0:15006 is in use"]);
  // What it needs is there when its address is.
  assert.deepEqual(feed.wished(typeUrls.route), ["80"]);
  clock.advance(1000);
  await settle();
  assert.equal(configuration.isReady, false);
  listeners.refusal = undefined;
  clock.advance(1000);
  await settle();
  assert.equal(configuration.waitingFor, undefined);
  assert.deepEqual(configuration.refusals(), []);
  assert.equal(listeners.log.at(-1), "start L one");
  assert.deepEqual(feed.refreshed, ["L"]);
  close();
});

test("Configuration acknowledges listeners when they serve, and refuses one whose address is taken", async () => {
  const { configuration, feed, listeners, metrics, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [staticCluster("a")]);
  feed.send(typeUrls.listener, [httpListener("80", "one")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  assert.equal(feed.send(typeUrls.listener, [httpListener("80", "two")]), "accepted");
  assert.equal(listeners.log.at(-1), "start L two");
  listeners.refusal = "cannot listen on 0.0.0.0:99: another process uses the port (EADDRINUSE)";
  assert.equal(feed.send(typeUrls.listener, [httpListener("80", "three")]), "no answer");
  // What comes while sockets are being opened waits its turn.
  const bad = resource(Listener, { name: "M", filterChains: [{}] });
  assert.equal(feed.send(typeUrls.listener, [bad]), "no answer");
  await settle();
  assert.deepEqual(feed.answers.slice(-2), [
    `L: ${listeners.refusal}`,
    "M: filter_chains[0].filters: a chain needs a filter that ends it",
  ]);
  assert.ok(!listeners.log.includes("start L three"));
  // Nor does it count, or stand among what serves.
  assert.match(metrics.expose(), /listener_manager_listener_modified 1\n/);
  const [kept] = configuration.applied.accepted(typeUrls.listener);
  assert.equal(Listener.decode(kept?.resource.bytes ?? new Uint8Array(0)).statPrefix, "two");
  close();
});

test("Configuration does not try again what was replaced or removed", async () => {
  const { configuration, feed, listeners, clock, close } = plane();
  configuration.start();
  listeners.refusal = "in use";
  feed.send(typeUrls.cluster, [staticCluster("a")]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  await settle();
  listeners.refusal = undefined;
  feed.send(typeUrls.listener, [], ["L"]);
  clock.advance(5000);
  await settle();
  assert.deepEqual(listeners.log, ["discard L one", "remove L"]);
  assert.equal(configuration.waitingFor, undefined);
  close();
});

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("Configuration applies the good resources of an answer and names the bad", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  const bad = resource(Cluster, { name: "bad", trackTimeoutBudgets: true });
  const answer = feed.send(typeUrls.cluster, [staticCluster("good"), bad]);
  assert.equal(answer, "bad: track_timeout_budgets: is not supported");
  assert.ok(clusters.get("good") !== undefined);
  assert.equal(clusters.get("bad"), undefined);
  assert.deepEqual(configuration.refusals(), [answer]);
  close();
});

test("Configuration keeps the last good version of what it refuses", () => {
  const { configuration, feed, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [staticCluster("a")]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  const broken = resource(RouteConfiguration, {
    name: "80",
    virtualHosts: [{ name: "v", domains: ["*", "*"] }],
  });
  assert.match(feed.send(typeUrls.route, [broken]), /^80: virtual_hosts\[0\]\.domains/);
  const outcome = configuration.get("80")?.resolve(requestView(), () => 0);
  assert.equal(outcome?.kind === "forward" && outcome.cluster, "a");
  close();
});

test("Configuration refuses listeners that could serve nobody", () => {
  const { configuration, feed, listeners, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [staticCluster("a")]);
  for (const filterChainMatcher of [undefined, {}]) {
    const empty = resource(Listener, { name: "M", filterChains: [], filterChainMatcher });
    assert.match(feed.send(typeUrls.listener, [empty]), /^M: filter_chains: at least one is requ/);
  }
  const internal = resource(Listener, { name: "N", internalListener: {} });
  assert.match(feed.send(typeUrls.listener, [internal]), /^N: filter_chains: at least one is requ/);
  assert.ok(!listeners.log.some((line) => line.startsWith("start")));
  close();
});

test("Configuration refuses broken bytes and doubles without harm to the rest", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  const broken = { name: "x", version: "1", bytes: Uint8Array.of(0x0a, 0xff) };
  assert.match(feed.send(typeUrls.cluster, [broken, staticCluster("a")]), /^x: /);
  assert.ok(clusters.get("a") !== undefined);
  const twice = feed.send(typeUrls.cluster, [staticCluster("b"), staticCluster("b")]);
  assert.equal(twice, "b: occurs twice in one answer");
  close();
});

test("a changed cluster serves its old version until the new one has endpoints", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [edsCluster("a")]);
  assert.equal(clusters.get("a"), undefined);
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
  const before = clusters.get("a");
  assert.equal(before?.pick(choice)?.address.address, "192.0.2.1");
  const renamed = resource(Cluster, {
    name: "a",
    type: Cluster_DiscoveryType.EDS,
    edsClusterConfig: { serviceName: "elsewhere" },
  });
  feed.send(typeUrls.cluster, [renamed]);
  assert.equal(clusters.get("a"), before);
  feed.send(typeUrls.endpoint, [endpoints("elsewhere", "192.0.2.2")]);
  assert.equal(clusters.get("a")?.pick(choice)?.address.address, "192.0.2.2");
  close();
});

test("endpoints that nobody has confirmed for `endpoint_stale_after` are forgotten", () => {
  const { configuration, feed, clusters, clock, metrics, close } = plane();
  configuration.start();
  const policy = { endpointStaleAfter: { seconds: 10n, nanos: 0 } };
  const lbEndpoints = [
    { endpoint: { address: { socketAddress: { address: "192.0.2.1", portValue: 80 } } } },
  ];
  const assignment = { clusterName: "a", policy, endpoints: [{ lbEndpoints }] };
  const value = message(ClusterLoadAssignment, assignment);
  const bytes = ClusterLoadAssignment.encode(value).finish();
  feed.send(typeUrls.cluster, [
    edsCluster("a"),
    resource(Cluster, { name: "b", loadAssignment: assignment }),
  ]);
  const has = (name: string): boolean => clusters.get(name)?.pick(choice) !== undefined;
  const counted = (name: string): string | undefined =>
    new RegExp(`envoy_cluster_assignment_${name}\\{cluster_name="a"\\} (\\d+)`).exec(
      metrics.expose(),
    )?.[1];
  feed.send(typeUrls.endpoint, [{ name: "a", version: "1", bytes }]);
  clock.advance(9_999);
  feed.send(typeUrls.endpoint, [{ name: "a", version: "2", bytes }]);
  clock.advance(9_999);
  assert.equal(has("a"), true);
  assert.equal(counted("stale"), undefined);
  clock.advance(1);
  assert.equal(has("a"), false);
  assert.equal(counted("stale"), "1");
  assert.equal(counted("timeout_received"), "2");
  clock.advance(100_000);
  assert.equal(has("b"), true, "what stands in the cluster is true for ever");
  close();
});

test("a cluster with TLS waits for its secrets", () => {
  const { configuration, feed, clusters, secrets, close } = plane();
  configuration.start();
  const tls = message(UpstreamTlsContext, {
    commonTlsContext: {
      tlsCertificateSdsSecretConfigs: [{ name: "default" }],
      validationContextSdsSecretConfig: { name: "ROOTCA" },
    },
  });
  const typeUrl =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
  const secured = resource(Cluster, {
    name: "a",
    transportSocket: {
      typedConfig: { typeUrl, value: UpstreamTlsContext.encode(tls).finish() },
    },
  });
  assert.equal(feed.send(typeUrls.cluster, [secured]), "accepted");
  assert.equal(clusters.get("a"), undefined);
  secrets.set("ROOTCA", { kind: "validation", trustedCaPem: "" });
  assert.equal(clusters.get("a"), undefined);
  secrets.set("default", { kind: "certificate", chainPem: "", privateKeyPem: "" });
  assert.ok(clusters.get("a") !== undefined);
  close();
});

test("a first version of a cluster does not wait for files, which may never come; the next one does", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  const typeUrl =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
  const secured = (path: string): XdsResource => {
    const tls = message(UpstreamTlsContext, {
      commonTlsContext: { validationContext: { trustedCa: { filename: path } } },
    });
    const typedConfig = { typeUrl, value: UpstreamTlsContext.encode(tls).finish() };
    return resource(Cluster, { name: "a", transportSocket: { typedConfig } }, path);
  };
  assert.equal(feed.send(typeUrls.cluster, [secured("/missing")]), "accepted");
  const first = clusters.get("a");
  assert.ok(first !== undefined);
  assert.deepEqual(clusters.warmingNames(), []);
  assert.equal(feed.send(typeUrls.cluster, [secured("/missing-too")]), "accepted");
  assert.equal(clusters.get("a"), first);
  close();
});

test("endpoints keep their identity while they stay, and hear when they leave", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [edsCluster("a")]);
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
  const first = clusters.get("a")?.pick(choice);
  assert.ok(first !== undefined);
  let isTold = false;
  first.onRemoved = () => {
    isTold = true;
  };
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.2", "192.0.2.1")]);
  const found = [1, 2].map(() => clusters.get("a")?.pick(choice));
  assert.ok(found.includes(first));
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.2")]);
  assert.equal(isTold, true);
  assert.equal(first.isRemoved, true);
  close();
});

test("a cluster draws another endpoint as often as it is told to, no more", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [edsCluster("a")]);
  const addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
  feed.send(typeUrls.endpoint, [endpoints("a", ...addresses)]);
  const cluster = clusters.get("a");
  const inTurn = addresses.map(() => cluster?.pick(choice));
  const [first, second] = inTurn;
  assert.ok(first !== undefined && second !== undefined);
  const avoid = (one: UpstreamEndpoint): boolean => one === first || one === second;
  assert.equal(cluster?.pick({ ...choice, avoid, redrawsMax: 1 }), second);
  // The third is next in turn.
  cluster?.pick(choice);
  assert.equal(cluster?.pick({ ...choice, avoid, redrawsMax: 2 }), inTurn[2]);
  close();
});

test("a cluster replaces all connections when its endpoints change, where it is told to", () => {
  for (const closesOnChange of [false, true]) {
    const { configuration, feed, clusters, close } = plane();
    configuration.start();
    const commonLbConfig = { closeConnectionsOnHostSetChange: closesOnChange };
    const fields = { name: "a", type: Cluster_DiscoveryType.EDS, commonLbConfig };
    feed.send(typeUrls.cluster, [resource(Cluster, fields)]);
    feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
    const endpoint = clusters.get("a")?.pick(choice) ?? assert.fail();
    let drained = 0;
    endpoint.onDrained = () => void drained++;
    feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
    assert.equal(drained, 0);
    feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1", "192.0.2.2")]);
    assert.equal(drained, closesOnChange ? 1 : 0);
    assert.equal(endpoint.isRemoved, false);
    close();
  }
});

test("a cluster takes the endpoint that a request insists on, if its health allows it", () => {
  const { configuration, feed, clusters, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [edsCluster("a")]);
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1", "192.0.2.2")]);
  const cluster = clusters.get("a");
  const insist = (host: string, isStrict: boolean): string | undefined =>
    cluster?.pick({ ...choice, override: { host, isStrict } })?.address.address;
  for (let i = 0; i < 4; i++) assert.equal(insist("192.0.2.2:80", false), "192.0.2.2");
  assert.equal(insist("192.0.2.9:80", true), undefined);
  assert.ok(insist("192.0.2.9:80", false) !== undefined);
  close();
});

test("a listener that changes while it warms starts in its last version alone", () => {
  const { configuration, feed, listeners, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, []);
  feed.send(typeUrls.listener, [httpListener("80", "one")]);
  feed.send(typeUrls.listener, [httpListener("80", "two")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  assert.deepEqual(listeners.log, ["discard L one", "start L two"]);
  feed.send(typeUrls.listener, [], ["L"]);
  assert.equal(listeners.log.at(-1), "remove L");
  close();
});

test("Configuration skips what serves already", () => {
  const { configuration, feed, listeners, close } = plane();
  configuration.start();
  feed.send(typeUrls.listener, [httpListener("80")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  assert.deepEqual(listeners.log, ["start L one"]);
  close();
});

test("Configuration names nested fields it does not honour", () => {
  const { configuration, feed, close } = plane();
  configuration.start();
  const check = (fields: Fields<Cluster>, expected: string): void => {
    const answer = feed.send(typeUrls.cluster, [resource(Cluster, { name: "x", ...fields })]);
    assert.equal(answer, `x: ${expected}`);
  };
  check(
    {
      loadAssignment: { endpoints: [{ lbEndpoints: [{ endpoint: { observabilityName: "n" } }] }] },
    },
    "load_assignment.endpoints[0].lb_endpoints[0].endpoint.observability_name: is not supported",
  );
  check(
    { upstreamBindConfig: { socketOptions: [{ level: 1n, name: 9n }] } },
    "upstream_bind_config.socket_options[0]: has neither int_value nor buf_value",
  );
  const interval = (seconds: bigint) => ({ seconds, nanos: 0 });
  check(
    {
      dnsFailureRefreshRate: { baseInterval: interval(2n), maxInterval: interval(1n) },
      type: Cluster_DiscoveryType.STRICT_DNS,
    },
    "dns_failure_refresh_rate.max_interval: must not be shorter than base_interval",
  );
  const resolverOf = (typedConfig: { typeUrl: string; value: Uint8Array }): Fields<Cluster> => ({
    typedDnsResolverConfig: { name: "r", typedConfig },
  });
  const resolvers = "type.googleapis.com/envoy.extensions.network.dns_resolver";
  const cares = message(CaresDnsResolverConfig, { rotateNameservers: true });
  check(
    resolverOf({
      typeUrl: `${resolvers}.cares.v3.CaresDnsResolverConfig`,
      value: CaresDnsResolverConfig.encode(cares).finish(),
    }),
    "typed_dns_resolver_config.typed_config.rotate_nameservers: is not supported",
  );
  check(
    resolverOf({
      typeUrl: `${resolvers}.apple.v3.AppleDnsResolverConfig`,
      value: new Uint8Array(0),
    }),
    `typed_dns_resolver_config.typed_config: '${resolvers}.apple.v3.AppleDnsResolverConfig' is not supported`,
  );
  check(
    { ringHashLbConfig: { minimumRingSize: 9_000_000n }, lbPolicy: 2 },
    "ring_hash_lb_config.minimum_ring_size: must lie between 1 and 8388608",
  );
  close();
});

test("Configuration is counted under Envoy's names", () => {
  const { configuration, feed, metrics, close } = plane();
  configuration.start();
  feed.send(typeUrls.cluster, [edsCluster("a"), edsCluster("b")]);
  feed.send(typeUrls.endpoint, [endpoints("a", "192.0.2.1")]);
  feed.send(typeUrls.cluster, [edsCluster("a", 2n), edsCluster("b")]);
  feed.send(typeUrls.listener, [httpListener("80")]);
  feed.send(typeUrls.route, [routes("80", "a")]);
  configuration.refreshSeries();
  const shown = metrics.expose();
  for (const line of [
    "envoy_cluster_manager_cluster_added 2",
    "envoy_cluster_manager_cluster_modified 1",
    "envoy_cluster_manager_active_clusters 1",
    "envoy_cluster_manager_warming_clusters 1",
    "envoy_cluster_manager_cds_update_success 2",
    "envoy_listener_manager_lds_update_success 1",
    'envoy_cluster_update_success{cluster_name="a"} 1',
    'envoy_cluster_max_host_weight{cluster_name="a"} 1',
    'envoy_http_rds_update_success{http_conn_manager_prefix="",rds_route_config="80"} 1',
  ]) {
    assert.ok(shown.includes(`${line}\n`), `${line}\n${shown}`);
  }
  close();
});
