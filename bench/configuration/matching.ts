/** What choosing a route costs: generated code, closures, and (for comparison) one after another. */
import { compileRouteConfiguration } from "../../src/proxy/engine/route-configuration.ts";
import type { RequestView } from "../../src/proxy/engine/request.ts";
import type { RouteTable } from "../../src/proxy/engine/route-table.ts";
import { RouteConfiguration } from "../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { threadMs } from "./thread-time.ts";
import { requestView } from "../../test/support/request-view.ts";

const random = (): number => 0.5;

/** The last route takes the request: all others are asked before. */
function tableOf(routes: number, headers: number, generatesCode: boolean): RouteTable {
  const config = RouteConfiguration.fromPartial({
    name: "80",
    virtualHosts: [
      {
        name: "all",
        domains: ["catalog.shop.svc.cluster.local"],
        routes: Array.from({ length: routes }, (_, i) => ({
          match: {
            prefix: i === routes - 1 ? "/" : headers > 0 ? "/api" : `/api/v${i}/`,
            headers:
              i === routes - 1
                ? []
                : Array.from({ length: headers }, () => ({
                    name: "x-version",
                    stringMatch: { exact: `canary-${i}` },
                  })),
          },
          route: { cluster: "c" },
        })),
      },
    ],
  });
  return compileRouteConfiguration(config, new Map(), { generatesCode });
}

function nanosPerRequest(table: RouteTable, request: RequestView): number {
  const rounds = 100_000;
  let best = Infinity;
  for (let round = 0; round < 7; round++) {
    const startMs = threadMs();
    for (let i = 0; i < rounds; i++) table.resolve(request, random);
    const spentMs = threadMs() - startMs;
    best = Math.min(best, (spentMs * 1e6) / rounds);
  }
  return best;
}

export function measureMatching(): Record<string, Record<string, string>> {
  const request = requestView({
    authority: "catalog.shop.svc.cluster.local",
    path: "/api/v-none/things?q=1",
    headers: { "x-version": "stable" },
  });
  const rows: Record<string, Record<string, string>> = {};
  for (const [routes, headers] of [
    [1, 0],
    [8, 0],
    [8, 1],
    [64, 0],
    [64, 1],
    [1000, 0],
  ] as const) {
    const generated = nanosPerRequest(tableOf(routes, headers, true), request);
    const closures = nanosPerRequest(tableOf(routes, headers, false), request);
    rows[`${routes} routes, ${headers} header each`] = {
      "generated ns": generated.toFixed(0),
      "closures ns": closures.toFixed(0),
      ratio: (generated / closures).toFixed(2),
    };
  }
  return rows;
}
