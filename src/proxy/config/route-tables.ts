/** Route configurations that came by name: checked, compiled piece by piece, swapped in whole. */
import type { Clock } from "../../base/clock.ts";
import type { Histogram, MetricRegistry } from "../../telemetry/metrics.ts";
import type { FilterOverrideCompilers } from "../engine/filter-overrides.ts";
import { compileRoutes, type RouteChecks } from "../engine/route-configuration.ts";
import type { RouteTable } from "../engine/route-table.ts";
import { honouredRoute, honouredRoutes, honouredVirtualHost } from "./honoured-routes.ts";
import { checkHonoured, type UnknownFieldCount } from "./honoured.ts";
import { timed, type Work } from "./slices.ts";

export interface RouteTablesOptions {
  readonly overrides: FilterOverrideCompilers;
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  readonly unknown: UnknownFieldCount;
  readonly isChecked?: boolean;
}

const milliseconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000];

export class RouteTables {
  readonly #options: RouteTablesOptions;
  readonly #tables = new Map<string, RouteTable>();
  readonly #checks: RouteChecks;
  readonly #tableTime: Histogram;
  readonly #hostTime: Histogram;

  constructor(options: RouteTablesOptions) {
    const { metrics, unknown } = options;
    this.#options = options;
    this.#checks = {
      table: (config) => checkHonoured(config, honouredRoutes, "", unknown),
      host: (host, path) => checkHonoured(host, honouredVirtualHost, path, unknown),
      route: (route, path) => checkHonoured(route, honouredRoute, path, unknown),
    };
    this.#tableTime = metrics.histogram(
      "heddle_route_table_compile_milliseconds",
      "Time that a thread was busy checking and compiling one route configuration",
      milliseconds,
    );
    this.#hostTime = metrics.histogram(
      "heddle_route_compile_on_request_milliseconds",
      "Time that a request waited because its virtual host or route was compiled for it",
      milliseconds,
    );
  }

  get(name: string): RouteTable | undefined {
    return this.#tables.get(name);
  }

  has(name: string): boolean {
    return this.#tables.has(name);
  }

  delete(name: string): void {
    this.#tables.delete(name);
  }

  /** Throws a refusal; the version before serves until the end, and beyond it then. */
  *apply(name: string, bytes: Uint8Array): Work<void> {
    const { clock, overrides } = this.#options;
    const before = this.#tables.get(name);
    const work = compileRoutes(bytes, {
      overrides,
      checks: this.#options.isChecked === true ? "trusted" : this.#checks,
      before,
      measured: (compile) => {
        const startMs = clock.monotonicMs();
        compile();
        this.#hostTime.record(clock.monotonicMs() - startMs);
      },
    });
    const table = yield* timed(work, clock, (spentMs) => this.#tableTime.record(spentMs));
    this.#tables.set(name, table);
  }
}
