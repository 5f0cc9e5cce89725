/** Makes the mesh model from what is configured and what runs. Reads nothing, knows no xDS. */
import type { AllocatedPlace } from "../base/allocated-addresses.ts";
import type { Problem } from "../base/problem.ts";
import type {
  BrokenResource,
  ConfigKind,
  ConfigResource,
  ResourceOfKind,
} from "../model/config-resource.ts";
import { isSecurityKind } from "../model/kinds.ts";
import type { MeshSettings } from "../model/mesh-config.ts";
import type { WorkloadSnapshot } from "../model/workload.ts";
import { checkMesh } from "./mesh/check.ts";
import type { MeshModel } from "./mesh-model.ts";
import { resourcesOfEach } from "./mesh-model.ts";
import { servicesOf } from "./mesh/services.ts";

export interface MeshInput {
  readonly resources: readonly ConfigResource[];
  readonly broken: readonly BrokenResource[];
  readonly workloads: WorkloadSnapshot;
  readonly settings: MeshSettings;
  /** From the last `BuiltMesh`, so that what was given an address keeps it. */
  readonly places?: ReadonlyMap<string, AllocatedPlace>;
}

export interface BuiltMesh {
  readonly model: MeshModel;
  /** Which addresses hosts of ServiceEntries were given. */
  readonly places: ReadonlyMap<string, AllocatedPlace>;
  readonly problems: readonly Problem[];
}

export const clusterDomain = "cluster.local";

/** Builds the model, and finds what is wrong between resources that are each right. */
export function buildMeshModel(input: MeshInput): BuiltMesh {
  const instances = input.workloads.instances.toSorted(byNamespaceAndName);
  const resources = resourcesOfEach((kind) => ofKind(input.resources, kind));
  const entries = resources.ServiceEntry;
  const problems: Problem[] = [];
  const places = input.places ?? new Map<string, AllocatedPlace>();
  const found = servicesOf({ workloads: input.workloads, instances, entries, problems, places });
  const model: MeshModel = {
    settings: input.settings,
    domain: clusterDomain,
    instances,
    services: found.services,
    resources,
    denying: input.broken.filter((resource) => isSecurityKind(resource.kind)),
  };
  problems.push(...checkMesh(model));
  return { model, problems, places: found.places };
}

function ofKind<Kind extends ConfigKind>(
  resources: readonly ConfigResource[],
  kind: Kind,
): readonly ResourceOfKind<Kind>[] {
  return resources
    .filter((one): one is ConfigResource & ResourceOfKind<Kind> => one.kind === kind)
    .toSorted(byNamespaceAndName);
}

interface Named {
  readonly namespace: string;
  readonly name: string;
}

function byNamespaceAndName(left: Named, right: Named): number {
  if (left.namespace !== right.namespace) return left.namespace < right.namespace ? -1 : 1;
  if (left.name === right.name) return 0;
  return left.name < right.name ? -1 : 1;
}
