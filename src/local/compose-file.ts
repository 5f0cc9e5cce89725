/**
 * Parses a Compose file as far as it says what a process is: `command`, `environment`, `ports`,
 * `expose`, `depends_on`, `scale`, `deploy.replicas`, `working_dir`, `labels`. There are no
 * containers here: what needs one (an image without a command, volumes, networks) is a problem, and so
 * is every key that has no effect (`file/compose-keys.ts`).
 *
 * Labels `heddle.*` carry what Compose has no word for: `heddle.service`, `heddle.namespace`,
 * `heddle.service-account`, `heddle.version`, `heddle.protocol`, `heddle.locality`, `heddle.label.X`,
 * `heddle.destinations` (`ledger:9000,…`), `heddle.writable` (`.data,…`), and `heddle.gateway: "true"` with published ports;
 * the key `x-heddle` of the whole file says where the console listens.
 */
import { resolve } from "node:path";

import type { Parsed, Problem } from "../base/problem.ts";
import { parseYaml, yamlField } from "../model/yaml.ts";
import {
  refuseWithoutCommand,
  reportConditions,
  reportDeployKeys,
  reportGatewayKeys,
  reportServiceKeys,
  reportTopKeys,
} from "./file/compose-keys.ts";
import { readComposePorts, readProtocol } from "./file/compose-ports.ts";
import { readConsole } from "./file/console.ts";
import { withoutVariables } from "./file/compose-variables.ts";
import { completeLabels, isDnsLabel } from "./file/labels.ts";
import { readMetricsLabel } from "./file/metrics.ts";
import { readWritableLabel } from "./file/writable.ts";
import { noGivenPorts } from "./file/ports.ts";
import { FieldReader } from "./file/reader.ts";
import { checkWorkloads } from "./file/whole.ts";
import { splitWords } from "./file/words.ts";
import { earlyDefaults, meshNameOf, secondDocument } from "./heddle-file.ts";
import type { GatewaySpec, MeshFile, WorkloadSpec } from "./mesh-file.ts";
import { meshFileLimits } from "./mesh-file.ts";

const knownLabels = [
  "service",
  "namespace",
  "service-account",
  "version",
  "protocol",
  "locality",
  "destinations",
  "gateway",
  "metrics",
  "writable",
];

export function parseComposeFile(text: string, file: string, directory: string): Parsed<MeshFile> {
  const yaml = parseYaml(text, file);
  const problems: Problem[] = [...yaml.problems];
  const [first, second] = yaml.documents;
  if (second !== undefined) problems.push(secondDocument(second.position));
  const written = first?.root;
  const root = written === undefined ? undefined : withoutVariables(written, problems);
  const services = yamlField(root, "services");
  if (root?.kind !== "mapping" || services?.kind !== "mapping") {
    const source = root?.position ?? { file, line: 1, column: 1 };
    const message = "a Compose file must hold a mapping with services";
    problems.push({ code: "heddle-file.empty", severity: "error", path: "", message, source });
    return { value: undefined, problems };
  }
  const reader = new FieldReader(root, "", problems);
  reader.node("services");
  const named = reader.string("name");
  if (named !== undefined && !isDnsLabel(named)) refuseName(reader, "name", named);
  const parts = services.entries.flatMap(({ key, value, keyPosition }) => {
    const path = `services.${key}`;
    if (value.kind === "mapping") {
      return [readService(key, new FieldReader(value, path, problems), directory)];
    }
    const message = `${key} must be a mapping`;
    const code = "heddle-file.type";
    problems.push({ code, severity: "error", path, message, source: keyPosition });
    return [];
  });
  // Compose leaves keys that begin with x- to other programs.
  const extension = reader.mapping("x-heddle");
  const position = reader.positionOf("name");
  const { consolePort, hostAddress, places } = readConsole(extension, position);
  extension?.finish();
  reportTopKeys(reader);
  const value: MeshFile = {
    mesh: named ?? meshNameOf(directory),
    consolePort,
    hostAddress,
    ...earlyDefaults,
    meshConfig: undefined,
    ports: noGivenPorts,
    gateways: parts.flatMap((part) => ("command" in part ? [] : [part])),
    workloads: parts.flatMap((part) => ("command" in part ? [part] : [])),
    places: {
      mesh: position,
      ...places,
      rootNamespace: position,
    },
  };
  checkWorkloads(value, reader);
  return { value: problems.some((one) => one.severity === "error") ? undefined : value, problems };
}

function readService(
  name: string,
  reader: FieldReader,
  directory: string,
): WorkloadSpec | GatewaySpec {
  if (!isDnsLabel(name)) refuseName(reader, "", name);
  const labels = readPairs(reader, "labels");
  reportLabels(reader, labels);
  const label = (key: string): string | undefined => labels[`heddle.${key}`];
  const nameIn = (key: string, otherwise: string): string => {
    const text = label(key) ?? otherwise;
    if (!isDnsLabel(text)) refuseName(reader, "labels", text);
    return text;
  };
  const extra = Object.entries(labels).filter(([key]) => key.startsWith("heddle.label."));
  const own = Object.fromEntries(extra.map(([key, text]) => [key.slice(13), text]));
  const service = label("service") ?? name;
  const completed = completeLabels(own, service, label("version") ?? "latest");
  const namespace = nameIn("namespace", "default");
  const isGateway = label("gateway") === "true";
  const ports = readComposePorts(
    reader,
    readProtocol(reader, "labels", label("protocol")),
    isGateway,
  );
  const command = isGateway ? [] : readCommand(reader);
  const rest = readProcess(reader, directory);
  if (isGateway) reportGatewayKeys(reader);
  reportServiceKeys(reader, isGateway || command.length > 0);
  if (isGateway) {
    const serviceAccount = nameIn("service-account", `${name}-service-account`.slice(0, 63));
    return { name, namespace, serviceAccount, labels: completed, ports };
  }
  return {
    name,
    service: ports.length > 0 ? service : undefined,
    namespace,
    serviceAccount: nameIn("service-account", name),
    labels: completed,
    locality: label("locality"),
    command,
    ...rest,
    ports: ports.map(({ name: portName, port, targetPort, protocol }) => {
      return { name: portName, port, targetPort, protocol };
    }),
    portPlaces: ports.map((port) => port.position),
    destinations: readDestinations(reader, label("destinations")),
    metrics: readMetricsLabel(reader, label("metrics")),
    writable: readWritableLabel(reader, label("writable"), directory),
    position: reader.position,
  };
}

type ProcessFields = Pick<
  WorkloadSpec,
  "replicas" | "workingDirectory" | "environment" | "environmentPlaces" | "dependsOn"
>;

function readProcess(reader: FieldReader, directory: string): ProcessFields {
  const deploy = reader.mapping("deploy");
  reportDeployKeys(deploy);
  const max = meshFileLimits.replicasMax;
  return {
    replicas: reader.integer("scale", 0, max) ?? deploy?.integer("replicas", 0, max) ?? 1,
    workingDirectory: resolve(directory, reader.string("working_dir") ?? "."),
    environment: readPairs(reader, "environment"),
    environmentPlaces: reader.positionsIn("environment"),
    dependsOn: readDependsOn(reader),
  };
}

function reportLabels(reader: FieldReader, labels: Readonly<Record<string, string>>): void {
  for (const key of Object.keys(labels)) {
    const name = key.startsWith("heddle.") ? key.slice(7) : undefined;
    if (name === undefined || name.startsWith("label.") || knownLabels.includes(name)) continue;
    const hint = `known: ${knownLabels.map((one) => `heddle.${one}`).join(", ")}, heddle.label.NAME`;
    reader.refuse("labels", "heddle-file.unknown-field", `${key} is not a label of Heddle's`, hint);
  }
}

function refuseName(reader: FieldReader, key: string, text: string): void {
  const hint = "use lower-case letters, digits and -, at most 63";
  reader.refuse(key, "heddle-file.name", `${JSON.stringify(text)} cannot be a name here`, hint);
}

function readCommand(reader: FieldReader): readonly string[] {
  const node = reader.node("command");
  const words = node?.kind === "scalar" ? splitWords(node.text) : reader.strings("command");
  if (words.length === 0) refuseWithoutCommand(reader);
  return words;
}

/**
 * A mapping, or a list of `KEY=VALUE`. A variable without a value is the one of whoever starts the mesh,
 * which workloads inherit anyway.
 */
function readPairs(reader: FieldReader, key: string): Readonly<Record<string, string>> {
  const node = reader.node(key);
  if (node?.kind === "mapping") {
    const given = node.entries.filter(
      ({ value }) => value.kind !== "scalar" || value.value !== null,
    );
    const names = new Set(given.map((entry) => entry.key));
    return Object.fromEntries(
      Object.entries(reader.texts(key)).filter(([name]) => names.has(name)),
    );
  }
  const pairs = reader.strings(key).flatMap((pair): [string, string][] => {
    const at = pair.indexOf("=");
    return at < 0 ? [] : [[pair.slice(0, at), pair.slice(at + 1)]];
  });
  return Object.fromEntries(pairs);
}

function readDependsOn(reader: FieldReader): readonly string[] {
  const node = reader.node("depends_on");
  if (node?.kind !== "mapping") return reader.strings("depends_on");
  reportConditions(reader, node);
  return node.entries.map((entry) => entry.key);
}

function readDestinations(
  reader: FieldReader,
  text: string | undefined,
): WorkloadSpec["destinations"] {
  const items = (text ?? "").split(",").filter((item) => item.trim() !== "");
  return items.flatMap((item) => {
    const [, service, port] = /^\s*([a-z0-9.-]+):(\d+)\s*$/.exec(item) ?? [];
    if (service !== undefined && port !== undefined) return [{ service, port: Number(port) }];
    reader.refuse("labels", "heddle-file.type", `heddle.destinations: ${item} is not SERVICE:PORT`);
    return [];
  });
}
