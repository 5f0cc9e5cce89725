/**
 * What a mesh file says and the mesh that runs cannot heed: fields that are read only at a start, and
 * in explicit mode what namespaces would be needed for. The rest of the file holds.
 */
import type { Problem, SourcePosition } from "../../base/problem.ts";
import type { MeshFile, WorkloadSpec } from "../mesh-file.ts";
import { explicitVariables } from "../run/application-environment.ts";
import { changedPorts, explicitPortsProblem } from "./ports.ts";

const readAtStart: readonly (readonly [keyof MeshFile["places"], string])[] = [
  ["mesh", "mesh"],
  ["consolePort", "console.port"],
  ["hostAddress", "console.address"],
  ["rootNamespace", "rootNamespace"],
];

/** Fields that differ from what the mesh was started with. */
export function restartProblems(
  started: MeshFile,
  now: MeshFile,
  mode: { readonly isExplicit: boolean },
): readonly Problem[] {
  const fields = readAtStart.flatMap(([field, path]) => {
    const [before, after] = [started[field], now[field]];
    return before === after ? [] : [{ path, before, after, source: now.places[field] }];
  });
  return [...fields, ...changedPorts(started, now, mode)].map(
    ({ path, before, after, source }): Problem => ({
      code: "heddle-file.restart-needed",
      severity: "error",
      path,
      message: `${path} is ${after} here and ${before} in the mesh that runs: it is read only at a start`,
      hint: "end the mesh and start it again: heddle down && heddle up",
      source,
    }),
  );
}

/** What explicit mode sets or cannot do, where the file says otherwise. */
export function explicitProblems(file: MeshFile): readonly Problem[] {
  const ports = explicitPortsProblem(file);
  const problems = [
    ...file.workloads.flatMap(environmentProblems),
    ...(ports === undefined ? [] : [ports]),
  ];
  if (file.gateways.length === 0 || isLoopback(file.hostAddress)) return problems;
  const message = `gateways listen on 127.0.0.1 in explicit mode, not on ${file.hostAddress}`;
  const hint = "leave console.address out, or run where network namespaces are to be had";
  return [...problems, explicitProblem("console.address", message, hint, file.places.hostAddress)];
}

function environmentProblems(spec: WorkloadSpec): readonly Problem[] {
  const names = explicitVariables(spec);
  return Object.keys(spec.environment).flatMap((name) => {
    if (!names.has(name)) return [];
    const message = `explicit mode sets ${name} of ${spec.name} itself; the value here is not used`;
    const path = `workloads.${spec.name}.environment.${name}`;
    const source = spec.environmentPlaces[name] ?? spec.position;
    return [explicitProblem(path, message, "leave it out, or use another name", source)];
  });
}

// oxlint-disable-next-line max-params -- what a problem is made of
function explicitProblem(
  path: string,
  message: string,
  hint: string,
  source: SourcePosition,
): Problem {
  return { code: "heddle-file.explicit", severity: "warning", path, message, hint, source };
}

function isLoopback(address: string): boolean {
  return address === "localhost" || address === "127.0.0.1";
}
