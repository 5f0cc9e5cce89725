import type { JsonObject } from "@bufbuild/protobuf";

import {
  statsScopeLimits,
  statsScopePrefix,
  type StandardTag,
  type StatsLogger,
} from "../../src/telemetry/standard-metrics.ts";

/** Standard loggers as AccessLog messages in canonical JSON, as the control plane writes them. */
export function statsAccessLogs(loggers: readonly StatsLogger[]): JsonObject[] {
  return loggers.map(({ filter, counters, histograms }) => {
    const filters: JsonObject[] = [];
    if (filter.logTypes !== undefined) {
      filters.push({ logTypeFilter: { types: [...filter.logTypes] } });
    }
    if (filter.responseFlags !== undefined) {
      filters.push({ responseFlagFilter: { flags: [...filter.responseFlags] } });
    }
    if (filter.headerPrefix !== undefined) {
      const { name, prefix } = filter.headerPrefix;
      filters.push({ headerFilter: { header: { name, stringMatch: { prefix } } } });
    }
    const [only] = filters;
    return {
      name: "envoy.access_loggers.stats",
      ...(filters.length === 1 && only !== undefined
        ? { filter: only }
        : { filter: { andFilter: { filters } } }),
      typedConfig: {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
        statsScope: { prefix: statsScopePrefix, ...statsScopeLimits, enableEviction: true },
        counters: counters.map(({ name, tags, value }) => ({
          stat: stat(name, tags),
          ...(value === 1 ? { valueFixed: "1" } : { valueFormat: value }),
        })),
        histograms: histograms.map(({ name, tags, unit, valueFormat }) => ({
          stat: stat(name, tags),
          unit,
          valueFormat,
        })),
      },
    };
  });
}

function stat(name: string, tags: readonly StandardTag[]): JsonObject {
  return { name, tags: tags.map((tag) => ({ name: tag.name, valueFormat: tag.format })) };
}
