/** What must hold over a whole mesh file: names are unique, references exist, limits are kept. */
import type { SourcePosition } from "../../base/problem.ts";
import { nearestName } from "../../model/nearest-name.ts";
import type { MeshFile, WorkloadSpec } from "../mesh-file.ts";
import { meshFileLimits } from "../mesh-file.ts";
import { checkOwnPorts } from "./ports.ts";
import type { FieldReader } from "./reader.ts";

export function checkWorkloads(file: MeshFile, reader: FieldReader): void {
  checkNames(file, reader);
  checkCounts(file, reader);
  checkPorts(file, reader);
  checkOwnPorts(file, reader);
  checkVariables(file, reader);
  checkDependencies(file, reader);
}

function checkDependencies({ workloads }: MeshFile, reader: FieldReader): void {
  const names = new Set(workloads.map((one) => one.name));
  for (const workload of workloads) {
    for (const name of workload.dependsOn) {
      if (names.has(name)) continue;
      const near = nearestName(name, names);
      const hint = near === undefined ? `known: ${[...names].join(", ")}` : `did you mean ${near}?`;
      const message = `${workload.name} depends on ${name}, which is not a workload`;
      report(reader, workload.position, { code: "heddle-file.depends-on", message, hint });
    }
  }
  const cycle = findCycle(workloads);
  const first = workloads.find(({ name }) => name === cycle?.[0]);
  if (cycle === undefined || first === undefined) return;
  const message = `dependsOn goes in a circle: ${cycle.join(" -> ")}`;
  const hint = "one of them must start without waiting for the next";
  report(reader, first.position, { code: "heddle-file.depends-on", message, hint });
}

function checkNames(file: MeshFile, reader: FieldReader): void {
  const seen = new Map<string, SourcePosition>();
  const take = (namespace: string, name: string, position: SourcePosition): void => {
    const key = `${namespace}/${name}`;
    const other = seen.get(key);
    if (other === undefined) {
      seen.set(key, position);
      return;
    }
    const message = `there are two workloads or gateways named ${key}; the other is on line ${other.line}`;
    report(reader, position, {
      code: "heddle-file.duplicate",
      message,
      hint: "rename one, or take it out",
    });
  };
  for (const workload of file.workloads) {
    take(workload.namespace, workload.name, workload.position);
    const longest = `${workload.name}-${Math.max(0, workload.replicas - 1)}.${workload.namespace}`;
    if (longest.length <= meshFileLimits.instanceNameBytesMax) continue;
    const message = `${longest} is longer than ${meshFileLimits.instanceNameBytesMax} characters`;
    const hint = "certificates hold no longer names: shorten the name or the namespace";
    report(reader, workload.position, { code: "heddle-file.name", message, hint });
  }
  for (const { namespace, name, ports } of file.gateways) {
    take(namespace, name, ports[0]?.position ?? reader.positionOf("gateways"));
  }
}

function checkCounts(file: MeshFile, reader: FieldReader): void {
  const instances = file.workloads.reduce((sum, one) => sum + one.replicas, file.gateways.length);
  const { workloadsMax, instancesMax } = meshFileLimits;
  if (file.workloads.length > workloadsMax || instances > instancesMax) {
    const message = `more than ${workloadsMax} workloads or ${instancesMax} replicas in all`;
    reader.refuse("workloads", "heddle-file.limit", message);
  }
}

function checkPorts(file: MeshFile, reader: FieldReader): void {
  const hostPorts = new Set<number>();
  const hint = "choose another one, or 0 for any that is free";
  for (const { hostPort, position } of file.gateways.flatMap((gateway) => gateway.ports)) {
    const isConsole = hostPort === file.consolePort;
    if (hostPort !== 0 && (isConsole || hostPorts.has(hostPort))) {
      const what = isConsole ? "is also the console's port" : "is used twice";
      report(reader, position, {
        code: "heddle-file.duplicate",
        message: `hostPort ${hostPort} ${what}`,
        hint,
      });
    }
    hostPorts.add(hostPort);
  }
  for (const workload of file.workloads) {
    const names = workload.ports.map((port) => port.name);
    const numbers = workload.ports.map((port) => port.port);
    if (new Set(names).size < names.length || new Set(numbers).size < numbers.length) {
      const message = `${workload.name} has two ports of one name or number`;
      const each = "each of its ports needs a name and a number of its own";
      report(reader, workload.position, { code: "heddle-file.duplicate", message, hint: each });
    }
  }
}

// `PORT` says where the first port's traffic arrives; another value would be overwritten. The same
// value is fine, although explicit mode gives it another.
function checkVariables({ workloads }: MeshFile, { problems }: FieldReader): void {
  for (const { name, ports, environment, environmentPlaces, position } of workloads) {
    const [first] = ports;
    const given = environment["PORT"];
    if (first === undefined || given === undefined || given === String(first.targetPort)) continue;
    problems.push({
      code: "heddle-file.environment",
      severity: "error",
      path: `workloads.${name}.environment.PORT`,
      message: `the mesh sets PORT of ${name} to its first port's targetPort, ${first.targetPort}, not to ${given}`,
      hint: "leave PORT out, or make that the targetPort of its first port",
      source: environmentPlaces["PORT"] ?? position,
    });
  }
}

/** The names along the circle, the first again at the end. */
function findCycle(workloads: readonly WorkloadSpec[]): readonly string[] | undefined {
  const byName = new Map(workloads.map((one) => [one.name, one]));
  const done = new Set<string>();
  const walk = (name: string, trail: readonly string[]): readonly string[] | undefined => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name];
    if (done.has(name)) return undefined;
    for (const next of byName.get(name)?.dependsOn ?? []) {
      const found = walk(next, [...trail, name]);
      if (found !== undefined) return found;
    }
    done.add(name);
    return undefined;
  };
  for (const name of byName.keys()) {
    const found = walk(name, []);
    if (found !== undefined) return found;
  }
  return undefined;
}

function report(
  reader: FieldReader,
  source: SourcePosition,
  {
    code,
    message,
    hint,
  }: { readonly code: string; readonly message: string; readonly hint: string },
): void {
  reader.problems.push({
    code,
    severity: "error",
    path: "",
    message,
    hint,
    source,
  });
}
