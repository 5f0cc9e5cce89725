import { hash } from "node:crypto";

import type { ResourceRef } from "../base/problem.ts";
import type { XdsResource } from "./feed.ts";

/**
 * Everything one proxy should have, as one immutable set: what a translator makes and the ADS
 * server serves. Resources are encoded once and shared by every proxy with the same inputs.
 */
export interface Snapshot {
  /** By type URL, then by resource name. A type that is absent has no resources. */
  readonly types: ReadonlyMap<string, ReadonlyMap<string, EncodedResource>>;
}

/** One resource ready to be sent; frozen, shared between snapshots. */
export interface EncodedResource extends XdsResource {
  /** Names of the next type that it cannot work without: listener → routes, cluster → endpoints, route → clusters. */
  readonly references: readonly string[];
  /** The configuration it was made from, so that a refusal can name file and line. */
  readonly origins: readonly ResourceRef[];
}

/** Gives an encoded message its version, which is a digest of its bytes: equal bytes, equal version. */
export function encodedResource(
  name: string,
  bytes: Uint8Array,
  links: {
    readonly references?: readonly string[];
    readonly origins?: readonly ResourceRef[];
  } = {},
): EncodedResource {
  const version = hash("sha256", bytes, "base64url").slice(0, 16);
  return Object.freeze({
    name,
    version,
    bytes,
    references: links.references ?? [],
    origins: links.origins ?? [],
  });
}

/** A snapshot of these resources; of two with one name the last wins. */
export function snapshotOf(
  types: Iterable<readonly [typeUrl: string, resources: Iterable<EncodedResource>]>,
): Snapshot {
  const byType = new Map<string, ReadonlyMap<string, EncodedResource>>();
  for (const [typeUrl, resources] of types) {
    const byName = new Map<string, EncodedResource>();
    for (const resource of resources) byName.set(resource.name, resource);
    byType.set(typeUrl, byName);
  }
  return { types: byType };
}
