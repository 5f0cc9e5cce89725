/**
 * What an entry of the table of kinds says. Each kind has a file beside this one, in which alone its state
 * changes: from refused by name to honoured, with the schema of its `spec`.
 */
import type { ConfigKind, SpecByKind } from "../config-resource.ts";
import type { Type } from "../schema.ts";

interface Named<Name extends string> {
  /**
   * What the mesh calls it: its kind, or where another group has a kind of that name, too, kind and group
   * (`Gateway.gateway.networking.k8s.io`), as kubectl takes both.
   */
  readonly name: Name;
  readonly group: string;
  /** What users of kubectl type for it. */
  readonly shortNames?: readonly string[];
  /** It fails closed: where it cannot be honoured, the workloads that it selects deny. */
  readonly isSecurity?: true;
}

/** A kind that acts. Its name is a key of `SpecByKind`: without a line there its entry does not compile. */
export interface HonouredKind<Name extends ConfigKind> extends Named<Name> {
  readonly state: "honoured";
  /** Every version that is served; the first is what a problem tells to write. */
  readonly versions: readonly string[];
  readonly spec: Type<SpecByKind[Name]>;
}

/** A kind that is recognised in every version of its group, and does nothing yet. */
export interface RefusedKind extends Named<string> {
  readonly state: "refused";
  /** What it would do, completing "not honoured yet (…)". */
  readonly effect: string;
}

export type AnyHonouredKind = { readonly [Name in ConfigKind]: HonouredKind<Name> }[ConfigKind];

export type Kind = AnyHonouredKind | RefusedKind;

/** API groups of Istio, with the versions in which nearly all of their kinds are served. */
export const networking = {
  group: "networking.istio.io",
  versions: ["v1", "v1beta1", "v1alpha3"],
} as const;
export const security = { group: "security.istio.io", versions: ["v1", "v1beta1"] } as const;

export const gatewayApi = "gateway.networking.k8s.io";
