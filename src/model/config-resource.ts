/** The resources an operator writes, read and typed; and those that could not be honoured. */
import type { ResourceRef, SourcePosition } from "../base/problem.ts";
import type { DestinationRuleSpec } from "./destination-rule.ts";
import type { GatewaySpec } from "./gateway.ts";
import type { LabelSelector } from "./matching.ts";
import type { AuthorizationPolicySpec, PeerAuthenticationSpec } from "./security.ts";
import type { ServiceEntrySpec } from "./service-entry.ts";
import type { VirtualServiceSpec } from "./virtual-service.ts";

/** One resource of a kind that is honoured; its kind is the name in the table of kinds. */
interface ResourceOf<Kind extends string, Spec> extends ResourceRef {
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

/**
 * What each kind that acts says under `spec`. A line here demands of the tables of kinds, of the mesh and of
 * what is seen of it (`kinds.ts`, `control/mesh-model.ts`, `control/translate/kind-reach.ts`) that they know it.
 */
export interface SpecByKind {
  readonly Gateway: GatewaySpec;
  readonly VirtualService: VirtualServiceSpec;
  readonly DestinationRule: DestinationRuleSpec;
  readonly ServiceEntry: ServiceEntrySpec;
  readonly PeerAuthentication: PeerAuthenticationSpec;
  readonly AuthorizationPolicy: AuthorizationPolicySpec;
}

export type ConfigKind = keyof SpecByKind;

export type ResourceOfKind<Kind extends ConfigKind> = ResourceOf<Kind, SpecByKind[Kind]>;

export type Gateway = ResourceOfKind<"Gateway">;
export type VirtualService = ResourceOfKind<"VirtualService">;
export type DestinationRule = ResourceOfKind<"DestinationRule">;
export type ServiceEntry = ResourceOfKind<"ServiceEntry">;
export type PeerAuthentication = ResourceOfKind<"PeerAuthentication">;
export type AuthorizationPolicy = ResourceOfKind<"AuthorizationPolicy">;

export type ConfigResource = { readonly [Kind in ConfigKind]: ResourceOfKind<Kind> }[ConfigKind];

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
