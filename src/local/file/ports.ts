/**
 * The ports that Heddle itself listens on, as heddle.yaml changes them: which there are, what a file
 * says of them, and where that clashes with what else the file declares.
 */
import { defaultSidecarPorts, type SidecarPorts } from "../../base/sidecar-options.ts";
import type { Problem, SourcePosition } from "../../base/problem.ts";
import type { ControlPlanePorts, GivenPorts, MeshFile } from "../mesh-file.ts";
import type { FieldReader } from "./reader.ts";

export const defaultControlPlanePorts: ControlPlanePorts = {
  secureXds: 15_012,
  plainXds: 15_010,
  metrics: 15_014,
};

/** Where the edge takes what leaves the mesh: no port of Istio's, and not changed. */
export const uplinkPort = 15_099;

/** What a file that says nothing gives; positions are those of the whole file. */
export const noGivenPorts: GivenPorts = { controlPlane: {}, sidecar: {}, places: {} };

export function controlPlanePortsOf({ ports }: MeshFile): ControlPlanePorts {
  return { ...defaultControlPlanePorts, ...ports.controlPlane };
}

export function sidecarPortsOf({ ports }: MeshFile): SidecarPorts {
  return { ...defaultSidecarPorts, ...ports.sidecar };
}

/** `ports: { controlPlane: { secureXds: 15012 }, sidecar: { ready: 15021 } }`. */
export function readPorts(reader: FieldReader): GivenPorts {
  const ports = reader.mapping("ports");
  if (ports === undefined) return noGivenPorts;
  const places: Record<string, SourcePosition> = { ports: reader.positionOf("ports") };
  const read = <Name extends string>(
    part: string,
    defaults: Readonly<Record<Name, number>>,
  ): Partial<Record<Name, number>> => {
    const fields = ports.mapping(part);
    const given: Partial<Record<Name, number>> = {};
    if (fields === undefined) return given;
    places[`ports.${part}`] = ports.positionOf(part);
    for (const name in defaults) {
      const port = fields.integer(name, 1, 65_535);
      if (port === undefined) continue;
      given[name] = port;
      places[`ports.${part}.${name}`] = fields.positionOf(name);
    }
    fields.finish();
    return given;
  };
  const given = {
    controlPlane: read("controlPlane", defaultControlPlanePorts),
    sidecar: read("sidecar", { ...defaultSidecarPorts }),
    places,
  };
  ports.finish();
  return given;
}

/** One port of Heddle's own: its path in the file, and its number there or by default. */
interface OwnPort {
  readonly path: string;
  readonly port: number;
}

function ownPorts(file: MeshFile): readonly OwnPort[] {
  return [
    ...pathsOf("ports.controlPlane", { ...controlPlanePortsOf(file) }),
    ...pathsOf("ports.sidecar", { ...sidecarPortsOf(file) }),
  ];
}

function pathsOf(part: string, ports: Readonly<Record<string, number>>): readonly OwnPort[] {
  return Object.entries(ports).map(([name, port]) => ({ path: `${part}.${name}`, port }));
}

/** Each port has one use: among Heddle's own, and beside what workloads and gateways listen on. */
export function checkOwnPorts(file: MeshFile, reader: FieldReader): void {
  const report = (source: SourcePosition, path: string, message: string): void => {
    const hint = "every port needs a number of its own";
    const code = "heddle-file.duplicate";
    reader.problems.push({ code, severity: "error", path, message, hint, source });
  };
  const { places } = file.ports;
  const taken = new Map([[uplinkPort, "the edge of the mesh"]]);
  for (const { path, port } of ownPorts(file)) {
    const other = taken.get(port);
    if (other === undefined) {
      taken.set(port, path);
      continue;
    }
    // What is written gives way to what is not: a default has no place to point at.
    const place = places[path] === undefined && places[other] !== undefined ? other : path;
    const rival = place === path ? other : path;
    const source = places[place] ?? reader.position;
    report(source, place, `${place} is ${port}, which is also the port of ${rival}`);
  }
  for (const { what, port, position } of applicationPorts(file)) {
    const own = ownPorts(file).find((one) => one.port === port && isSidecars(one));
    if (own === undefined) continue;
    const source = places[own.path] ?? position;
    report(source, own.path, `${own.path} is ${port}, which is also a port of ${what}`);
  }
  for (const { what, port } of hostPorts(file)) {
    // Only explicit mode has both on the host; a default gives way to them there.
    const own = ownPorts(file).find((one) => one.port === port && !isSidecars(one));
    const source = own === undefined ? undefined : places[own.path];
    if (own === undefined || source === undefined) continue;
    report(source, own.path, `${own.path} is ${port}, which is also ${what}`);
  }
}

interface DeclaredPort {
  readonly what: string;
  readonly port: number;
}

function isSidecars({ path }: OwnPort): boolean {
  return path.startsWith("ports.sidecar.");
}

/** Listened on beside a sidecar, in its network namespace. */
function applicationPorts(
  file: MeshFile,
): readonly (DeclaredPort & { readonly position: SourcePosition })[] {
  const ofWorkloads = file.workloads.flatMap(({ name, ports, metrics, position }) =>
    [...ports.map(({ targetPort }) => targetPort), ...(metrics ? [metrics.port] : [])].map(
      (port) => ({ what: name, port, position }),
    ),
  );
  const ofGateways = file.gateways.flatMap(({ name, ports }) =>
    ports.map(({ port, position }) => ({ what: name, port, position })),
  );
  return [...ofWorkloads, ...ofGateways];
}

function hostPorts(file: MeshFile): readonly DeclaredPort[] {
  const ofGateways = file.gateways.flatMap(({ name, ports }) =>
    ports.map(({ hostPort }) => ({ what: `a hostPort of ${name}`, port: hostPort })),
  );
  return [{ what: "the console's port", port: file.consolePort }, ...ofGateways];
}

/** Own ports that differ from what the mesh was started with. Explicit mode heeds none of sidecars. */
export function changedPorts(
  started: MeshFile,
  now: MeshFile,
  { isExplicit }: { readonly isExplicit: boolean },
): readonly {
  readonly path: string;
  readonly before: number;
  readonly after: number;
  readonly source: SourcePosition;
}[] {
  const before = new Map(ownPorts(started).map(({ path, port }) => [path, port]));
  return ownPorts(now).flatMap((one) => {
    const { path, port: after } = one;
    const was = before.get(path);
    if (was === undefined || was === after || (isExplicit && isSidecars(one))) return [];
    const { places } = now.ports;
    const source = places[path] ?? places["ports"] ?? now.places.mesh;
    return [{ path, before: was, after, source }];
  });
}

/** Sidecars' ports have no effect in explicit mode, where all of them share one address. */
export function explicitPortsProblem({ ports, places }: MeshFile): Problem | undefined {
  if (Object.keys(ports.sidecar).length === 0) return undefined;
  return {
    code: "heddle-file.explicit",
    severity: "warning",
    path: "ports.sidecar",
    message:
      "explicit mode gives every sidecar ports of its own; those of ports.sidecar are not used",
    hint: "leave ports.sidecar out, or run where network namespaces are to be had",
    source: ports.places["ports.sidecar"] ?? places.mesh,
  };
}
