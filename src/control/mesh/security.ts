/** Which mutual TLS mode and which policies hold for a workload. Pure questions to a model. */
import type { AuthorizationPolicy, PeerAuthentication } from "../../model/config-resource.ts";
import type { BrokenResource } from "../../model/config-resource.ts";
import { selects } from "../../model/matching.ts";
import type { MtlsMode } from "../../model/security.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape } from "../mesh-model.ts";

export type EffectiveMtls = Exclude<MtlsMode, "UNSET">;

type Subject = Pick<WorkloadInstance, "namespace" | "labels">;

/** Port level before workload before namespace before root namespace; PERMISSIVE without any. */
export function mtlsModeFor(model: MeshShape, subject: Subject, port: number): EffectiveMtls {
  let mode: EffectiveMtls = "PERMISSIVE";
  for (const policy of peerAuthenticationsFor(model, subject)) {
    mode = effective(policy.spec.mtls?.mode, mode);
    mode = effective(policy.spec.portLevelMtls?.[String(port)]?.mode, mode);
  }
  return mode;
}

/** The policies that count, from the widest to the narrowest; at most one of each width. */
export function peerAuthenticationsFor(
  model: MeshShape,
  subject: Subject,
): readonly PeerAuthentication[] {
  const { rootNamespace } = model.settings;
  const find = (namespace: string, isSelective: boolean): PeerAuthentication | undefined =>
    model.resources.PeerAuthentication.find(
      (one) =>
        one.namespace === namespace &&
        hasSelector(one) === isSelective &&
        selects(one.spec.selector, subject.labels),
    );
  const own = subject.namespace === rootNamespace ? undefined : find(subject.namespace, false);
  return [find(rootNamespace, false), own, find(subject.namespace, true)].filter(
    (one) => one !== undefined,
  );
}

export function hasSelector(policy: PeerAuthentication | AuthorizationPolicy): boolean {
  return Object.keys(policy.spec.selector ?? {}).length > 0;
}

function effective(mode: MtlsMode | undefined, inherited: EffectiveMtls): EffectiveMtls {
  return mode === undefined || mode === "UNSET" ? inherited : mode;
}

/** Policies of the workload's namespace and of the root namespace that select it. */
export function authorizationPoliciesFor(
  model: MeshShape,
  subject: Subject,
): readonly AuthorizationPolicy[] {
  return model.resources.AuthorizationPolicy.filter(
    (one) => isInReach(model, one.namespace, subject) && selects(one.spec.selector, subject.labels),
  );
}

/** Broken security resources that select the workload: while there is one, it denies everything. */
export function denyingFor(model: MeshShape, subject: Subject): readonly BrokenResource[] {
  return model.denying.filter(
    (one) => isInReach(model, one.namespace, subject) && selects(one.selector, subject.labels),
  );
}

function isInReach(model: MeshShape, namespace: string, subject: Subject): boolean {
  return namespace === subject.namespace || namespace === model.settings.rootNamespace;
}
