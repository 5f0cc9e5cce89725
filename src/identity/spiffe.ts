import type { Brand } from "../base/brand.ts";

/** A checked SPIFFE identity of the mesh's form: `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`. */
export type SpiffeId = Brand<string, "SpiffeId">;

export interface SpiffeParts {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const trustDomainPattern = /^[a-z0-9._-]{1,255}$/;
/** SPIFFE allows more in a path segment; Kubernetes names, which these are, do not. */
const segmentPattern = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const idPattern = /^spiffe:\/\/([^/]*)\/ns\/([^/]*)\/sa\/([^/]*)$/;

/** Undefined when a part could not stand in an identity: an id is never made by escaping. */
export function spiffeIdOf(parts: SpiffeParts): SpiffeId | undefined {
  const { trustDomain, namespace, serviceAccount } = parts;
  return parseSpiffeId(`spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`)?.id;
}

/** Undefined for anything but an identity of the mesh's form. */
export function parseSpiffeId(
  text: string,
): { readonly id: SpiffeId; readonly parts: SpiffeParts } | undefined {
  const [, trustDomain = "", namespace = "", serviceAccount = ""] = idPattern.exec(text) ?? [];
  if (!trustDomainPattern.test(trustDomain)) return undefined;
  if (!segmentPattern.test(namespace) || !segmentPattern.test(serviceAccount)) return undefined;
  const id = text as SpiffeId; // the only place that makes one: it was checked above
  return { id, parts: { trustDomain, namespace, serviceAccount } };
}
