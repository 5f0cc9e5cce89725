/**
 * Filter state: texts that filters set for those behind them, of a connection and of a request. What
 * was set for the connection cannot be set for one of its requests again, as in Envoy.
 */
import type { FormatOptions } from "../../telemetry/access-log-format.ts";
import type { JsonValue, RequestRecord } from "../../telemetry/request-record.ts";
import type { FilterStateMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/filter_state.ts";
import {
  FilterStateValue_SharedWithUpstream as Sharing,
  type FilterStateValue,
} from "../../wire/gen/ts/envoy/extensions/filters/common/set_filter_state/v3/value.ts";
import { compileBodyFormat } from "./body-format.ts";
import type { Condition } from "./condition.ts";
import { refuse } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { textTestOf } from "./string-matcher.ts";

export interface StateObject {
  /** Undefined for what logs alone can tell: `value`. */
  readonly text: string | undefined;
  readonly value?: JsonValue;
  readonly isHashable: boolean;
  /** Told to the listener inside the proxy that the upstream is; `transitive`: and on from there. */
  readonly sharing?: "once" | "transitive";
}

export type FilterState = ReadonlyMap<string, StateObject>;

/** The cluster that `tcp_proxy` takes instead of its own. */
export const tcpClusterKey = "envoy.tcp_proxy.cluster";

/** Where an `ORIGINAL_DST` cluster goes instead of where its connection did: an address and port. */
export const originalDestinationKey = "envoy.network.transport_socket.original_dst_address";

/** What an object's type lets be done with it; others mean something that is not done here. */
const factories: ReadonlyMap<string, Omit<StateObject, "text">> = new Map([
  ["envoy.string", { isHashable: false }],
  ["envoy.hashable_string", { isHashable: true }],
  ["istio.hashable_string", { isHashable: true }],
  [tcpClusterKey, { isHashable: false }],
  [originalDestinationKey, { isHashable: true }],
  ["envoy.filters.listener.original_dst.local_ip", { isHashable: true }],
  ["envoy.filters.listener.original_dst.remote_ip", { isHashable: true }],
]);

const sharings: Readonly<Record<number, StateObject["sharing"]>> = {
  [Sharing.ONCE]: "once",
  [Sharing.TRANSITIVE]: "transitive",
};

export function stateObject(request: RequestView, key: string): StateObject | undefined {
  return request.state?.get(key) ?? request.connection.state?.get(key);
}

/** For logs: JSON of Envoy's message for it. */
export function stateJson(object: StateObject | undefined): JsonValue | undefined {
  const { text, value } = object ?? {};
  return text === undefined ? value : JSON.stringify(text);
}

export function stateText(request: RequestView, key: string): string | undefined {
  return stateObject(request, key)?.text;
}

export function stateCondition(matcher: FilterStateMatcher, path: string): Condition {
  if (matcher.key === "") refuse(`${path}.key`, "is required");
  if (matcher.addressMatch !== undefined) refuse(`${path}.address_match`, "is not supported");
  const test = textTestOf(matcher.stringMatch, `${path}.string_match`);
  const source = { kind: "state", name: matcher.key } as const;
  return { kind: "text", source, test, isInverted: false, whenMissing: false };
}

/** The state after it; `set` and `outer` are left as they are. */
export type StateSetter = (
  record: RequestRecord,
  set: FilterState | undefined,
  outer?: FilterState,
) => FilterState | undefined;

export function compileStateSetter(
  values: readonly FilterStateValue[],
  path: string,
  extensions: FormatOptions,
): StateSetter {
  const setters = values.map((value, i) => compileValue(value, `${path}[${i}]`, extensions));
  return (record, set, outer) => {
    let state = set;
    for (const { key, object } of setters) {
      if (outer?.has(key) === true) continue;
      const made = object(record);
      if (made !== undefined) state = new Map([...(state ?? []), [key, made]]);
    }
    return state;
  };
}

function compileValue(
  value: FilterStateValue,
  path: string,
  extensions: FormatOptions,
): { readonly key: string; readonly object: (record: RequestRecord) => StateObject | undefined } {
  const { objectKey: key = "", factoryKey, formatString } = value;
  if (key === "") return refuse(`${path}.object_key`, "is required");
  const type = factoryKey === "" ? key : factoryKey;
  const kind =
    factories.get(type) ??
    refuse(
      factoryKey === "" ? `${path}.object_key` : `${path}.factory_key`,
      `'${type}' is not supported; there are: ${[...factories.keys()].join(" ")}`,
    );
  const sharing = sharings[value.sharedWithUpstream];
  const kept = sharing === undefined ? kind : { ...kind, sharing };
  if (formatString === undefined) return refuse(`${path}.format_string`, "is required");
  const { write } = compileBodyFormat(formatString, `${path}.format_string`, extensions);
  return {
    key,
    object: (record) => {
      const text = write(record, "");
      return value.skipIfEmpty && text === "" ? undefined : { text, ...kept };
    },
  };
}
