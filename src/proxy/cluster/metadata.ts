/** Endpoint metadata as flat text, and matching it against transport socket criteria. */
import type { Metadata } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { EndpointMetadata } from "./endpoint.ts";

export function flattenMetadata(metadata: Metadata | undefined): EndpointMetadata {
  const flat: Record<string, Record<string, string>> = {};
  for (const [filter, values] of Object.entries(metadata?.filterMetadata ?? {})) {
    const entries: Record<string, string> = {};
    for (const [key, value] of Object.entries(values ?? {})) entries[key] = textOf(value);
    flat[filter] = entries;
  }
  return flat;
}

/** Undefined where there is none, which is almost everywhere. */
export function subsetValuesOf(
  metadata: Metadata | undefined,
): ReadonlyMap<string, string> | undefined {
  const values = metadata?.filterMetadata["envoy.lb"];
  if (values === undefined) return undefined;
  return new Map(Object.entries(values).map(([key, value]) => [key, JSON.stringify(value) ?? ""]));
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

/** Whether every criterion is met by the endpoint's `envoy.transport_socket_match` metadata. */
export function meetsCriteria(
  metadata: EndpointMetadata,
  criteria: { readonly [key: string]: unknown },
): boolean {
  const own = metadata["envoy.transport_socket_match"] ?? {};
  return Object.entries(criteria).every(([key, value]) => own[key] === textOf(value));
}
