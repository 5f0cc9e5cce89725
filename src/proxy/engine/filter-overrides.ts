/** `typed_per_filter_config`: what a route says differently about an HTTP filter. */
import { FilterConfig } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import type { Any } from "../../wire/gen/ts/google/protobuf/any.ts";
import { refuse } from "./refusal.ts";

/**
 * Compiles the per-route message of one filter, by its type URL; throws a refusal. `owner` names the
 * place by table, virtual host and route: the same in each thread that compiles it.
 */
export type FilterOverrideCompilers = ReadonlyMap<
  string,
  (config: Uint8Array, path: string, owner: string) => unknown
>;

/** Stands for a filter that this route switches off. */
export const disabledFilter: unique symbol = Symbol("filter disabled on this route");

/** Stands for a filter that this route switches on, with the configuration it has. */
export const enabledFilter: unique symbol = Symbol("filter enabled on this route");

/** What every level says counts, not only what the most specific one does. */
export class LayeredOverride<T> {
  /** The most specific first. */
  readonly layers: readonly T[];

  constructor(layers: readonly T[]) {
    this.layers = layers;
  }

  /** `below` is what less specific levels say. */
  over(below: unknown): unknown {
    return below instanceof LayeredOverride
      ? new LayeredOverride([...this.layers, ...below.layers])
      : this;
  }
}

const filterConfigUrl = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

export function compileFilterOverrides(
  configs: { readonly [filter: string]: Any },
  compilers: FilterOverrideCompilers,
  path: string,
  owner: string = path,
): ReadonlyMap<string, unknown> {
  const overrides = new Map<string, unknown>();
  for (const [filter, any] of Object.entries(configs)) {
    const place = `${path}typed_per_filter_config[${filter}]`;
    const { config, isOptional, isDisabled } = unwrap(any);
    if (isDisabled) {
      overrides.set(filter, disabledFilter);
      continue;
    }
    if (config === undefined) refuse(place, "names no configuration");
    if (config.typeUrl === "") {
      overrides.set(filter, enabledFilter);
      continue;
    }
    const compile = compilers.get(config.typeUrl);
    if (compile === undefined) {
      if (isOptional) continue;
      refuse(place, `'${config.typeUrl}' is not supported`);
    }
    overrides.set(filter, compile(config.value, place, `${owner}[${filter}]`));
  }
  return overrides;
}

function unwrap(any: Any): {
  readonly config: Any | undefined;
  readonly isOptional: boolean;
  readonly isDisabled: boolean;
} {
  if (any.typeUrl !== filterConfigUrl) return { config: any, isOptional: false, isDisabled: false };
  const { config, isOptional, disabled } = FilterConfig.decode(any.value);
  return { config, isOptional, isDisabled: disabled };
}
