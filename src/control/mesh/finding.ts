/** How a cross-resource check says what it found, with the place in the resource. */
import type { Problem } from "../../base/problem.ts";
import type { ConfigResource } from "../../model/config-resource.ts";
import { positionOf } from "../../model/config-resource.ts";
import { nearestName } from "../../model/nearest-name.ts";
import type { MeshModel } from "../mesh-model.ts";

export interface Finding {
  readonly code: string;
  readonly path: string;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly severity?: "error" | "warning";
}

export function problemOf(resource: ConfigResource, finding: Finding): Problem {
  const { kind, namespace, name } = resource;
  return {
    code: finding.code,
    severity: finding.severity ?? "error",
    path: finding.path,
    message: finding.message,
    ...(finding.hint === undefined ? {} : { hint: finding.hint }),
    source: positionOf(resource, finding.path),
    resource: { kind, namespace, name },
  };
}

/** What to write instead of a host that no service has. */
export function hostHint(model: MeshModel, host: string, namespace: string): string {
  const full = `${host}.svc.${model.domain}`;
  if (model.services.has(full)) return `write ${full}; short names have no namespace`;
  const short = [...model.services.values()].filter((one) => one.namespace === namespace);
  const near = nearestName(host, [...short.map((one) => one.name), ...model.services.keys()]);
  if (near !== undefined) return `did you mean ${near}?`;
  const elsewhere = [...model.services.values()].find((one) => one.name === host);
  if (elsewhere !== undefined) return `write ${elsewhere.hostname}`;
  return "declare what is in the mesh in heddle.yaml, and what is not in a ServiceEntry";
}
