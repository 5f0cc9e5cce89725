/** Envoy's `set_filter_state` for requests: texts for the filters behind it, of every level. */
import type { FormatOptions } from "../../telemetry/access-log-format.ts";
import { Config } from "../../wire/gen/ts/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.ts";
import { honouredHttpState } from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import { LayeredOverride } from "../engine/filter-overrides.ts";
import { compileStateSetter, type StateSetter } from "../engine/filter-state.ts";
import { extensions } from "../stats/file-logger.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";

export function compileStateOverride(bytes: Uint8Array, path: string): unknown {
  return new LayeredOverride([compile(bytes, path, extensions).set]);
}

export function createStateFilter(
  bytes: Uint8Array,
  { name, path }: { readonly name: string; readonly path: string },
): HttpFilter {
  const { set, clearsRoute } = compile(bytes, path, extensions);
  return {
    name,
    onRequest(stream: FilterStream) {
      const before = stream.request.state;
      setFor(stream, set);
      const override = stream.override(name);
      if (override instanceof LayeredOverride) {
        // What stands under this filter's name was compiled for it. The least specific sets first.
        const layers = override.layers as readonly StateSetter[];
        for (const layer of layers.toReversed()) setFor(stream, layer);
      }
      if (clearsRoute && stream.request.state !== before) stream.refreshRoute();
      return "continue";
    },
  };
}

function setFor({ request, record }: FilterStream, set: StateSetter): void {
  request.state = set(record, request.state, request.connection.state);
}

function compile(
  bytes: Uint8Array,
  path: string,
  options: FormatOptions,
): { readonly set: StateSetter; readonly clearsRoute: boolean } {
  const config = honoured(Config.decode(bytes), honouredHttpState, path);
  return {
    set: compileStateSetter(config.onRequestHeaders, `${path}.on_request_headers`, options),
    clearsRoute: config.clearRouteCache,
  };
}
