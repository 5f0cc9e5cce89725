/** The resources an operator writes, read and typed; and those that could not be honoured. */
import type { ResourceRef, SourcePosition } from "../base/problem.ts";
import type { DestinationRuleSpec } from "./destination-rule.ts";
import type { GatewaySpec } from "./gateway.ts";
import type { LabelSelector } from "./matching.ts";
import type { AuthorizationPolicySpec, PeerAuthenticationSpec } from "./security.ts";
import type { ServiceEntrySpec } from "./service-entry.ts";
import type { VirtualServiceSpec } from "./virtual-service.ts";

/** One resource of a kind that is honoured. */
export interface ResourceOf<Kind extends string, Spec> extends ResourceRef {
  readonly kind: Kind;
  readonly apiVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: Spec;
  readonly source: SourcePosition;
  /** Where each field was written, by path (`spec.http[0].route`). */
  readonly positions: ReadonlyMap<string, SourcePosition>;
  /** Its document, as written: what `get -o yaml` shows and `apply` stores. */
  readonly text: string;
}

export type Gateway = ResourceOf<"Gateway", GatewaySpec>;
export type VirtualService = ResourceOf<"VirtualService", VirtualServiceSpec>;
export type DestinationRule = ResourceOf<"DestinationRule", DestinationRuleSpec>;
export type ServiceEntry = ResourceOf<"ServiceEntry", ServiceEntrySpec>;
export type PeerAuthentication = ResourceOf<"PeerAuthentication", PeerAuthenticationSpec>;
export type AuthorizationPolicy = ResourceOf<"AuthorizationPolicy", AuthorizationPolicySpec>;

export type ConfigResource =
  | Gateway
  | VirtualService
  | DestinationRule
  | ServiceEntry
  | PeerAuthentication
  | AuthorizationPolicy;

export type ConfigKind = ConfigResource["kind"];

/**
 * A resource that was written and cannot be honoured. Its problems say why. Of a security kind it
 * still counts: the workloads it selects deny unless an earlier version of it was good.
 */
export interface BrokenResource {
  readonly kind: string;
  readonly namespace: string;
  /** Undefined when the document is too broken to tell. */
  readonly name: string | undefined;
  /** Undefined when it could not be read: then everything in reach of its namespace is selected. */
  readonly selector: LabelSelector | undefined;
  readonly source: SourcePosition;
}

const securityKinds: ReadonlySet<string> = new Set([
  "PeerAuthentication",
  "RequestAuthentication",
  "AuthorizationPolicy",
]);

/** Kinds that must fail closed. */
export function isSecurityKind(kind: string): boolean {
  return securityKinds.has(kind);
}

/** `VirtualService default/catalog`: what names a resource, and the same resource again. */
export function resourceKey(ref: ResourceRef): string {
  return `${ref.kind} ${ref.namespace}/${ref.name}`;
}

/** The place of a field, or of the nearest thing around it that was written. */
export function positionOf(
  resource: {
    readonly positions: ReadonlyMap<string, SourcePosition>;
    readonly source: SourcePosition;
  },
  path: string,
): SourcePosition {
  for (let at = path; at !== ""; at = at.replace(/(?:\.[^.[\]]+|\[[^\]]*\]|^[^.[\]]+)$/, "")) {
    const position = resource.positions.get(at);
    if (position !== undefined) return position;
  }
  return resource.source;
}
