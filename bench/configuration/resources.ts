/** A mesh of many services, as resources of the control plane look: the same in every run. */
import {
  Cluster,
  Cluster_DiscoveryType,
} from "../../src/wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../../src/wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { HttpConnectionManager } from "../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { Router } from "../../src/wire/gen/ts/envoy/extensions/filters/http/router/v3/router.ts";
import type { XdsResource } from "../../src/xds/feed.ts";

const serviceOf = (i: number): string => `service-${i}.namespace-${i % 20}.svc.cluster.local`;
const clusterOf = (i: number): string => `outbound|80||${serviceOf(i)}`;

interface Codec<T> {
  encode(value: T): { finish(): Uint8Array };
  fromPartial(object: never): T;
}

function resource<T>(codec: Codec<T>, name: string, fields: object, version: string): XdsResource {
  const bytes = codec.encode(codec.fromPartial(fields as never)).finish();
  // On its own, as when it came over a connection.
  return { name, version, bytes: Uint8Array.from(bytes) };
}

export function clusters(count: number, version = "1"): XdsResource[] {
  return Array.from({ length: count }, (_, i) =>
    resource(
      Cluster,
      clusterOf(i),
      {
        name: clusterOf(i),
        type: Cluster_DiscoveryType.EDS,
        connectTimeout: { seconds: 10n, nanos: 0 },
        circuitBreakers: { thresholds: [{ maxConnections: 4096, maxRetries: 1024 }] },
        outlierDetection: { consecutive5xx: 5 },
        metadata: {
          filterMetadata: { istio: { services: [{ host: serviceOf(i), name: `service-${i}` }] } },
        },
      },
      version,
    ),
  );
}

export function assignments(count: number, version = "1"): XdsResource[] {
  return Array.from({ length: count }, (_, i) =>
    resource(
      ClusterLoadAssignment,
      clusterOf(i),
      {
        clusterName: clusterOf(i),
        endpoints: [
          {
            lbEndpoints: [1, 2, 3].map((n) => ({
              endpoint: {
                address: {
                  socketAddress: { address: `10.${i >> 8}.${i & 255}.${n}`, portValue: 8080 },
                },
              },
            })),
          },
        ],
      },
      version,
    ),
  );
}

/** `perHost` routes for each service: paths, a header, retries, a timeout. */
export function routesOfServices(
  hosts: number,
  perHost: number,
  version = "1",
  changed?: number,
): XdsResource {
  return resource(
    RouteConfiguration,
    "80",
    {
      name: "80",
      virtualHosts: Array.from({ length: hosts }, (_, i) => ({
        name: `${serviceOf(i)}:80`,
        domains: [serviceOf(i), `service-${i}.namespace-${i % 20}`, `10.96.${i >> 8}.${i & 255}`],
        includeRequestAttemptCount: true,
        routes: Array.from({ length: perHost }, (_route, r) =>
          routeOf(clusterOf(i), r, i === changed ? version : "1"),
        ),
      })),
    },
    version,
  );
}

/** All routes below one name, as an ingress gateway has them. */
export function routesOfOneHost(count: number, version = "1"): XdsResource {
  return resource(
    RouteConfiguration,
    "80",
    {
      name: "80",
      virtualHosts: [
        {
          name: "everything",
          domains: ["*"],
          routes: Array.from({ length: count }, (_, i) => routeOf(clusterOf(i % 2000), i, version)),
        },
      ],
    },
    version,
  );
}

function routeOf(cluster: string, i: number, version: string): object {
  return {
    name: `route-${i}-${version}`,
    match: {
      prefix: `/api/v${i % 10}/things-${i}/`,
      headers:
        i % 4 === 0 ? [{ name: "x-version", stringMatch: { exact: `canary-${i % 3}` } }] : [],
    },
    route: {
      cluster,
      timeout: { seconds: 15n, nanos: 0 },
      retryPolicy: { retryOn: "connect-failure,refused-stream,unavailable", numRetries: 2 },
    },
    decorator: { operation: `${cluster}/*` },
  };
}

/** Listens on a port of the kernel's choice. */
export function listener(): XdsResource {
  const manager = HttpConnectionManager.encode(
    HttpConnectionManager.fromPartial({
      statPrefix: "bench",
      rds: { routeConfigName: "80" },
      httpFilters: [
        {
          name: "envoy.filters.http.router",
          typedConfig: {
            typeUrl: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            value: Router.encode(Router.fromPartial({})).finish(),
          },
        },
      ],
    }),
  ).finish();
  return resource(
    Listener,
    "bench",
    {
      name: "bench",
      address: { socketAddress: { address: "127.0.0.1", portValue: 0 } },
      filterChains: [
        {
          filters: [
            {
              name: "http",
              typedConfig: {
                typeUrl:
                  "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                value: manager,
              },
            },
          ],
        },
      ],
    },
    "1",
  );
}
