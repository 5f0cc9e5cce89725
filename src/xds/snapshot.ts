import { hash } from "node:crypto";

import type { ResourceRef } from "../base/problem.ts";
import { typeUrls, type XdsResource } from "./feed.ts";

/**
 * Everything one proxy should have, as one immutable set: what a translator makes and the ADS
 * server serves. Resources are encoded once and shared by every proxy with the same inputs.
 */
export interface Snapshot {
  /** Names this set among those of its proxy; shown to people, and sent as xDS version. */
  readonly version: string;
  /** By type URL, then by resource name. A type that is absent has no resources. */
  readonly types: ReadonlyMap<string, ResourceSet>;
}

export type ResourceSet = ReadonlyMap<string, EncodedResource>;

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
  version: string,
  types: Iterable<readonly [typeUrl: string, resources: Iterable<EncodedResource>]>,
): Snapshot {
  const byType = new Map<string, ResourceSet>();
  for (const [typeUrl, resources] of types) {
    const byName = new Map<string, EncodedResource>();
    for (const resource of resources) byName.set(resource.name, resource);
    byType.set(typeUrl, byName);
  }
  return { version, types: byType };
}

const noResources: ResourceSet = new Map();

export function resourcesOf(snapshot: Snapshot | undefined, typeUrl: string): ResourceSet {
  return snapshot?.types.get(typeUrl) ?? noResources;
}

/** A resource that another needs and the snapshot lacks. */
export interface DanglingReference {
  readonly typeUrl: string;
  readonly resource: EncodedResource;
  readonly missing: string;
  readonly missingTypeUrl: string;
}

/** What each type's references name, in the order in which resources must come to be. */
const referenceTypes: readonly (readonly [from: string, to: string])[] = [
  [typeUrls.cluster, typeUrls.endpoint],
  [typeUrls.route, typeUrls.cluster],
  [typeUrls.listener, typeUrls.route],
];

export function danglingReferences(snapshot: Snapshot): readonly DanglingReference[] {
  const dangling: DanglingReference[] = [];
  for (const [typeUrl, missingTypeUrl] of referenceTypes) {
    const targets = resourcesOf(snapshot, missingTypeUrl);
    for (const resource of resourcesOf(snapshot, typeUrl).values()) {
      for (const missing of resource.references) {
        if (!targets.has(missing)) dangling.push({ typeUrl, resource, missing, missingTypeUrl });
      }
    }
  }
  return dangling;
}

/**
 * Holds back what would break: a resource of `next` that refers to something absent keeps the version
 * it has in `previous`, when that one is whole, and is left out otherwise. A route table is not left
 * out, for its listener would never get ready: its routes to absent clusters answer 503.
 */
export function holdBack(
  previous: Snapshot | undefined,
  next: Snapshot,
): { readonly snapshot: Snapshot; readonly held: readonly DanglingReference[] } {
  const held = danglingReferences(next);
  if (held.length === 0) return { snapshot: next, held };
  const types = new Map(next.types);
  for (const [typeUrl, targetUrl] of referenceTypes) {
    const dangling = new Set(held.filter((h) => h.typeUrl === typeUrl).map((h) => h.resource.name));
    if (dangling.size === 0) continue;
    const targets = types.get(targetUrl) ?? noResources;
    const resources = new Map(resourcesOf(next, typeUrl));
    for (const name of dangling) {
      const last = resourcesOf(previous, typeUrl).get(name);
      if (last !== undefined && last.references.every((target) => targets.has(target))) {
        resources.set(name, last);
      } else if (typeUrl !== typeUrls.route) {
        resources.delete(name);
      }
    }
    types.set(typeUrl, resources);
  }
  return { snapshot: { version: next.version, types }, held };
}

const labels = new Map<string, string>([
  [typeUrls.listener, "LDS"],
  [typeUrls.route, "RDS"],
  [typeUrls.cluster, "CDS"],
  [typeUrls.endpoint, "EDS"],
  [typeUrls.secret, "SDS"],
  [typeUrls.nameTable, "NDS"],
]);

/** `CDS`; the last word of a type without an abbreviation. */
export function typeLabel(typeUrl: string): string {
  return labels.get(typeUrl) ?? typeUrl.slice(typeUrl.lastIndexOf(".") + 1);
}
