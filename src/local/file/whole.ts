/** What must hold over a whole mesh file: names are unique, references exist, limits are kept. */
import type { MeshFile, WorkloadSpec } from "../mesh-file.ts";
import { meshFileLimits } from "../mesh-file.ts";
import type { FieldReader } from "./reader.ts";

export function checkWorkloads(file: MeshFile, reader: FieldReader): void {
  checkNames(file, reader);
  checkCounts(file, reader);
  checkPorts(file, reader);
  checkVariables(file, reader);
  const names = new Set(file.workloads.map((one) => one.name));
  for (const workload of file.workloads) {
    for (const name of workload.dependsOn) {
      if (names.has(name)) continue;
      report(
        reader,
        workload,
        "depends-on",
        `${workload.name} depends on ${name}, which is not a workload`,
      );
    }
  }
  const cycle = findCycle(file.workloads);
  if (cycle !== undefined) {
    reader.refuse("workloads", "heddle-file.depends-on", `dependsOn goes in a circle: ${cycle}`);
  }
}

function checkNames(file: MeshFile, reader: FieldReader): void {
  const seen = new Set<string>();
  for (const workload of file.workloads) {
    const key = `${workload.namespace}/${workload.name}`;
    if (seen.has(key)) {
      report(reader, workload, "duplicate", `there are two workloads named ${key}`);
    }
    seen.add(key);
    const longest = `${workload.name}-${Math.max(0, workload.replicas - 1)}.${workload.namespace}`;
    if (longest.length > meshFileLimits.instanceNameBytesMax) {
      const max = meshFileLimits.instanceNameBytesMax;
      report(reader, workload, "name", `${longest} is longer than ${max} characters`);
    }
  }
  for (const gateway of file.gateways) {
    const key = `${gateway.namespace}/${gateway.name}`;
    if (seen.has(key)) {
      reader.refuse("gateways", "heddle-file.duplicate", `${key} is used twice`);
    }
    seen.add(key);
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
  for (const port of file.gateways.flatMap((gateway) => gateway.ports)) {
    if (port.hostPort !== 0 && hostPorts.has(port.hostPort)) {
      reader.refuse("gateways", "heddle-file.duplicate", `hostPort ${port.hostPort} is used twice`);
    }
    hostPorts.add(port.hostPort);
  }
  if (file.consolePort !== 0 && hostPorts.has(file.consolePort)) {
    const message = `hostPort ${file.consolePort} is also the console's port`;
    reader.refuse("gateways", "heddle-file.duplicate", message);
  }
  for (const workload of file.workloads) {
    const names = workload.ports.map((port) => port.name);
    const numbers = workload.ports.map((port) => port.port);
    if (new Set(names).size < names.length || new Set(numbers).size < numbers.length) {
      report(reader, workload, "duplicate", `${workload.name} has two ports of one name or number`);
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

function findCycle(workloads: readonly WorkloadSpec[]): string | undefined {
  const byName = new Map(workloads.map((one) => [one.name, one]));
  const done = new Set<string>();
  const walk = (name: string, trail: readonly string[]): string | undefined => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name].join(" -> ");
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

function report(reader: FieldReader, at: WorkloadSpec, code: string, message: string): void {
  reader.problems.push({
    code: `heddle-file.${code}`,
    severity: "error",
    path: "workloads",
    message,
    source: at.position,
  });
}
