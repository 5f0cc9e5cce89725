/**
 * Parses `heddle.yaml`. Never throws: whatever is wrong is a problem with file, line and column, and
 * the mesh is usable only when there is no error among them (the last good one keeps running).
 */
import { isAbsolute, resolve } from "node:path";

import type { Parsed, Problem, SourcePosition } from "../base/problem.ts";
import { parseYaml, yamlField, type YamlNode } from "../model/yaml.ts";
import { readConsole } from "./file/console.ts";
import { completeLabels, isDnsLabel } from "./file/labels.ts";
import { readMetrics } from "./file/metrics.ts";
import { readWritable } from "./file/writable.ts";
import { parseProtocol, protocolNames, protocolOfPortName } from "./file/protocol.ts";
import { readPorts } from "./file/ports.ts";
import { readPrometheus } from "./file/prometheus.ts";
import { FieldReader } from "./file/reader.ts";
import { checkWorkloads } from "./file/whole.ts";
import type {
  DestinationSpec,
  GatewayPort,
  GatewaySpec,
  MeshFile,
  WorkloadPort,
  WorkloadSpec,
} from "./mesh-file.ts";
import { meshFileLimits } from "./mesh-file.ts";

/** As SPIFFE writes them; within what a certificate's subject can hold. */
const trustDomainPattern = /^[a-z0-9._-]{1,64}$/;

/** `directory` is where relative working directories start, and names the mesh when nothing else does. */
export function parseHeddleFile(text: string, file: string, directory: string): Parsed<MeshFile> {
  const yaml = parseYaml(text, file);
  const problems: Problem[] = [...yaml.problems];
  const [first, second] = yaml.documents;
  if (second !== undefined) problems.push(secondDocument(second.position));
  const root = first?.root;
  if (root?.kind !== "mapping") {
    if (problems.length === 0) {
      problems.push({
        code: "heddle-file.empty",
        severity: "error",
        path: "",
        message: "the file must hold a mapping with workloads",
        source: { file, line: 1, column: 1 },
      });
    }
    return { value: undefined, problems };
  }
  const value = readMesh(new FieldReader(root, "", problems), directory);
  return { value: problems.some((one) => one.severity === "error") ? undefined : value, problems };
}

/** What follows `---` would be left out in silence. */
export function secondDocument(source: SourcePosition): Problem {
  return {
    code: "heddle-file.documents",
    severity: "error",
    path: "",
    message: "the file holds more than one document",
    hint: "write all of it above the line ---, and Istio YAML into files of its own",
    source,
  };
}

function readMesh(reader: FieldReader, directory: string): MeshFile {
  const mesh = readLabel(reader, "mesh", meshNameOf(directory));
  const { consolePort, hostAddress, places } = readConsole(reader, reader.position);
  const meshConfig = reader.node("meshConfig");
  const settings = readSettings(meshConfig);
  const rootNamespace = readLabel(reader, "rootNamespace", settings.rootNamespace);
  const prometheusUrl = readPrometheus(reader);
  const ports = readPorts(reader);
  const gateways = reader.mappings("gateways").map((gateway) => readGateway(gateway));
  const declared = reader.mappings("workloads").map((one) => readWorkload(one, directory));
  const workloads = mergesMetrics(meshConfig) ? declared : declared.map(withoutMetrics);
  reader.finish();
  const meshFile: MeshFile = {
    mesh,
    consolePort,
    hostAddress,
    ...settings,
    rootNamespace,
    meshConfig,
    ...(prometheusUrl === undefined ? {} : { prometheusUrl }),
    ports,
    gateways,
    workloads,
    places: {
      mesh: reader.positionOf("mesh"),
      ...places,
      rootNamespace: reader.positionOf("rootNamespace"),
    },
  };
  checkWorkloads(meshFile, reader);
  return meshFile;
}

/** A DNS label from a directory's name; `mesh` when nothing is left of it. */
export function meshNameOf(directory: string): string {
  const last = directory.split(/[/\\]/).findLast((part) => part !== "") ?? "";
  const label = last.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return label.replaceAll(/^-+|-+$/g, "").slice(0, 40) || "mesh";
}

export interface EarlySettings {
  readonly outboundTrafficPolicy: MeshFile["outboundTrafficPolicy"];
  readonly trustDomain: string;
  readonly rootNamespace: string;
}

/** Istio's. */
export const earlyDefaults: EarlySettings = {
  outboundTrafficPolicy: "ALLOW_ANY",
  trustDomain: "cluster.local",
  rootNamespace: "istio-system",
};

// What must be known before the control plane starts. The rest of meshConfig belongs to it, and it
// also reports what is wrong with any of it.
function readSettings(meshConfig: YamlNode | undefined): EarlySettings {
  if (meshConfig?.kind !== "mapping") return earlyDefaults;
  const silent = new FieldReader(meshConfig, "meshConfig", []);
  const mode = silent.mapping("outboundTrafficPolicy")?.string("mode");
  const domain = silent.string("trustDomain") ?? "";
  const root = silent.string("rootNamespace") ?? "";
  return {
    outboundTrafficPolicy: mode === "REGISTRY_ONLY" ? mode : "ALLOW_ANY",
    trustDomain: trustDomainPattern.test(domain) ? domain : earlyDefaults.trustDomain,
    rootNamespace: isDnsLabel(root) ? root : earlyDefaults.rootNamespace,
  };
}

/** Istio's default is to serve the application's metrics with the proxy's. */
function mergesMetrics(meshConfig: YamlNode | undefined): boolean {
  const written = yamlField(meshConfig, "enablePrometheusMerge");
  return !(written?.kind === "scalar" && written.value === false);
}

function withoutMetrics(workload: WorkloadSpec): WorkloadSpec {
  return { ...workload, metrics: undefined };
}

function readGateway(reader: FieldReader): GatewaySpec {
  const name = readLabel(reader, "name", undefined);
  const namespace = readLabel(reader, "namespace", "istio-system");
  const serviceAccount = readLabel(
    reader,
    "serviceAccount",
    `${name}-service-account`.slice(0, 63),
  );
  const labels = completeLabels(reader.texts("labels"), name, "latest");
  const ports = reader.mappings("ports").map((port): GatewayPort => {
    const number = readPort(port, "port") ?? 80;
    const hostPort = port.integer("hostPort", 0, 65_535) ?? number;
    const portName = port.string("name") ?? `http-${number}`;
    const protocol = readProtocol(port, portName);
    port.finish();
    const position = port.positionOf("hostPort");
    return { name: portName, port: number, hostPort, protocol, position };
  });
  if (ports.length === 0) {
    reader.refuse("ports", "heddle-file.required", "a gateway needs at least one port");
  }
  reader.finish();
  return { name, namespace, serviceAccount, labels, ports };
}

function readWorkload(reader: FieldReader, directory: string): WorkloadSpec {
  const name = readLabel(reader, "name", undefined);
  const service = reader.string("service");
  const portFields = reader.mappings("ports");
  const ports = portFields.map((port) => readWorkloadPort(port));
  if (ports.length > meshFileLimits.portsMax) {
    reader.refuse("ports", "heddle-file.limit", `more than ${meshFileLimits.portsMax} ports`);
  }
  const command = readCommand(reader);
  const workingDirectory = reader.string("workingDirectory") ?? ".";
  const spec: WorkloadSpec = {
    name,
    service: service ?? (ports.length > 0 ? name : undefined),
    namespace: readLabel(reader, "namespace", "default"),
    serviceAccount: readLabel(reader, "serviceAccount", "default"),
    labels: completeLabels(reader.texts("labels"), service ?? name, "latest"),
    locality: reader.string("locality"),
    replicas: reader.integer("replicas", 0, meshFileLimits.replicasMax) ?? 1,
    command,
    workingDirectory: isAbsolute(workingDirectory)
      ? workingDirectory
      : resolve(directory, workingDirectory),
    environment: reader.texts("environment"),
    environmentPlaces: reader.positionsIn("environment"),
    dependsOn: reader.strings("dependsOn"),
    ports,
    portPlaces: portFields.map((port) => port.positionOf("protocol")),
    destinations: reader.mappings("destinations").map((one) => readDestination(one)),
    metrics: readMetrics(reader),
    writable: readWritable(reader, directory),
    position: reader.position,
  };
  reader.finish();
  return spec;
}

/** A list of words; a text is handed to `sh -c`. */
function readCommand(reader: FieldReader): readonly string[] {
  const node = reader.node("command");
  if (node?.kind === "scalar") return ["sh", "-c", node.text];
  const words = reader.strings("command");
  if (words.length === 0) {
    const hint = "command: [node, server.mjs]";
    reader.refuse("command", "heddle-file.required", "a workload needs a command", hint);
  }
  return words;
}

function readWorkloadPort(reader: FieldReader): WorkloadPort {
  const port = readPort(reader, "port") ?? 80;
  const targetPort = readPort(reader, "targetPort", port) ?? port;
  const given = reader.string("name");
  const protocol = readProtocol(reader, given ?? "");
  const name = given ?? `${protocol === "auto" ? "port" : protocol}-${port}`;
  reader.finish();
  return { name, port, targetPort, protocol };
}

function readDestination(reader: FieldReader): DestinationSpec {
  const service = reader.string("service") ?? "";
  if (service === "") reader.refuse("service", "heddle-file.required", "service must be given");
  const port = readPort(reader, "port") ?? 0;
  reader.finish();
  return { service, port };
}

function readPort(reader: FieldReader, key: string, otherwise?: number): number | undefined {
  const isAbsent = reader.node(key) === undefined;
  if (isAbsent && otherwise !== undefined) return otherwise;
  if (isAbsent) reader.refuse(key, "heddle-file.required", `${key} must be given`);
  return reader.integer(key, 1, 65_535);
}

function readProtocol(reader: FieldReader, portName: string): WorkloadPort["protocol"] {
  const text = reader.string("protocol");
  if (text === undefined) return protocolOfPortName(portName);
  const protocol = parseProtocol(text);
  if (protocol === undefined) {
    const hint = `known: ${protocolNames}`;
    reader.refuse("protocol", "heddle-file.protocol", `${text} is not a protocol`, hint);
  }
  return protocol ?? "auto";
}

function readLabel(reader: FieldReader, key: string, otherwise: string | undefined): string {
  const text = reader.string(key) ?? otherwise;
  if (text === undefined) {
    reader.refuse(key, "heddle-file.required", `${key} must be given`);
    return "unnamed";
  }
  if (!isDnsLabel(text)) {
    const hint = "use lower-case letters, digits and -, at most 63";
    reader.refuse(key, "heddle-file.name", `${JSON.stringify(text)} cannot be a ${key}`, hint);
  }
  return text;
}
