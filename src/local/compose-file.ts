/**
 * Parses a Compose file as far as it says what a process is: `command`, `environment`, `ports`,
 * `expose`, `depends_on`, `scale`, `deploy.replicas`, `working_dir`, `labels`. There are no
 * containers here: what needs one (an image without a command, volumes, networks) is a problem.
 *
 * Labels `heddle.*` carry what Compose has no word for: `heddle.service`, `heddle.namespace`,
 * `heddle.service-account`, `heddle.version`, `heddle.protocol`, `heddle.locality`, `heddle.label.X`,
 * `heddle.destinations` (`ledger:9000,…`), and `heddle.gateway: "true"` with published ports.
 */
import { resolve } from "node:path";

import type { Parsed, Problem } from "../base/problem.ts";
import type { YamlNode } from "../model/yaml.ts";
import { parseYaml, yamlField } from "../model/yaml.ts";
import { completeLabels, isDnsLabel } from "./file/labels.ts";
import { readMetricsLabel } from "./file/metrics.ts";
import { parseProtocol, protocolOfPortName } from "./file/protocol.ts";
import { FieldReader } from "./file/reader.ts";
import { checkWorkloads } from "./file/whole.ts";
import { splitWords } from "./file/words.ts";
import { defaultConsolePort, meshNameOf } from "./heddle-file.ts";
import type { GatewaySpec, MeshFile, WorkloadPort, WorkloadSpec } from "./mesh-file.ts";
import { meshFileLimits } from "./mesh-file.ts";

/** Fields that say how a container is built or shown, and change nothing for a plain process. */
const harmless = [
  "image",
  "build",
  "container_name",
  "restart",
  "healthcheck",
  "init",
  "stdin_open",
  "tty",
  "logging",
  "profiles",
  "stop_grace_period",
  "platform",
  "pull_policy",
];
/** Fields that would need a container to be honoured. */
const refused = [
  "volumes",
  "networks",
  "network_mode",
  "entrypoint",
  "env_file",
  "secrets",
  "configs",
  "privileged",
  "cap_add",
  "devices",
  "user",
  "links",
  "extends",
];

export function parseComposeFile(text: string, file: string, directory: string): Parsed<MeshFile> {
  const yaml = parseYaml(text, file);
  const problems: Problem[] = [...yaml.problems];
  const root = yaml.documents[0]?.root;
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
  const parts = services.entries.flatMap(({ key, value, keyPosition }) => {
    if (value.kind === "mapping") {
      const service = new FieldReader(value, `services.${key}`, problems);
      return [readService(key, service, directory)];
    }
    const message = `${key} must be a mapping`;
    problems.push({
      code: "heddle-file.type",
      severity: "error",
      path: `services.${key}`,
      message,
      source: keyPosition,
    });
    return [];
  });
  reader.finish(["version", "volumes", "networks", "x-heddle"]);
  const value: MeshFile = {
    mesh: named !== undefined && isDnsLabel(named) ? named : meshNameOf(directory),
    consolePort: defaultConsolePort,
    hostAddress: "127.0.0.1",
    rootNamespace: "istio-system",
    meshConfig: undefined,
    outboundTrafficPolicy: "ALLOW_ANY",
    gateways: parts.flatMap((part) => ("command" in part ? [] : [part])),
    workloads: parts.flatMap((part) => ("command" in part ? [part] : [])),
  };
  checkWorkloads(value, reader);
  return { value: problems.some((one) => one.severity === "error") ? undefined : value, problems };
}

function readService(
  name: string,
  reader: FieldReader,
  directory: string,
): WorkloadSpec | GatewaySpec {
  if (!isDnsLabel(name)) {
    const hint = "use lower-case letters, digits and -, at most 63";
    reader.refuse("", "heddle-file.name", `${JSON.stringify(name)} cannot be a service name`, hint);
  }
  for (const key of refused) {
    if (reader.node(key) === undefined) continue;
    const hint = "Heddle runs processes, not containers: leave it out";
    reader.refuse(key, "heddle-file.container", `${key} needs a container`, hint);
  }
  const labels = readPairs(reader, "labels");
  const label = (key: string): string | undefined => labels[`heddle.${key}`];
  const extra = Object.entries(labels).filter(([key]) => key.startsWith("heddle.label."));
  const own = Object.fromEntries(extra.map(([key, text]) => [key.slice(13), text]));
  const service = label("service") ?? name;
  const completed = completeLabels(own, service, label("version") ?? "latest");
  const namespace = label("namespace") ?? "default";
  const protocol = parseProtocol(label("protocol") ?? "");
  const ports = readPorts(reader, protocol);
  const isGateway = label("gateway") === "true";
  const command = isGateway ? [] : readCommand(reader);
  const replicas =
    reader.integer("scale", 0, meshFileLimits.replicasMax) ??
    reader.mapping("deploy")?.integer("replicas", 0, meshFileLimits.replicasMax) ??
    1;
  const environment = readPairs(reader, "environment");
  const dependsOn = readDependsOn(reader);
  const workingDirectory = resolve(directory, reader.string("working_dir") ?? ".");
  reader.finish([...harmless, ...refused]);
  if (isGateway) {
    const serviceAccount = label("service-account") ?? `${name}-service-account`;
    return { name, namespace, serviceAccount, labels: completed, ports };
  }
  return {
    name,
    service: ports.length > 0 ? service : undefined,
    namespace,
    serviceAccount: label("service-account") ?? name,
    labels: completed,
    locality: label("locality"),
    replicas,
    command,
    workingDirectory,
    environment,
    dependsOn,
    ports: ports.map(({ name: portName, port, targetPort, protocol: spoken }) => ({
      name: portName,
      port,
      targetPort,
      protocol: spoken,
    })),
    destinations: readDestinations(reader, label("destinations")),
    metrics: readMetricsLabel(reader, label("metrics")),
    position: reader.position,
  };
}

function readCommand(reader: FieldReader): readonly string[] {
  const node = reader.node("command");
  const words = node?.kind === "scalar" ? splitWords(node.text) : reader.strings("command");
  if (words.length === 0) {
    const hint = "an image's own command cannot be known here";
    reader.refuse("command", "heddle-file.required", "a service needs a command", hint);
  }
  return words;
}

type ComposePort = WorkloadPort & { readonly hostPort: number };

/** `"8080:80"`, `"127.0.0.1:8080:80"`, `80`, `{ target, published, name, app_protocol }`. */
function readPorts(
  reader: FieldReader,
  protocol: WorkloadPort["protocol"] | undefined,
): ComposePort[] {
  const node = reader.node("ports");
  const exposed = reader.strings("expose").map(Number);
  const items: readonly YamlNode[] = node?.kind === "sequence" ? node.items : [];
  const ports = items.map((item, index) => portOf(item, reader, index, protocol));
  for (const port of exposed) {
    if (!ports.some((known) => known?.targetPort === port)) {
      ports.push(composePort(port, port, "", protocol));
    }
  }
  return ports.flatMap((port) => (port === undefined ? [] : [port]));
}

function portOf(
  item: YamlNode,
  reader: FieldReader,
  index: number,
  protocol: WorkloadPort["protocol"] | undefined,
): ComposePort | undefined {
  if (item.kind === "mapping") {
    const fields = new FieldReader(item, `${reader.path}.ports[${index}]`, reader.problems);
    const target = fields.integer("target", 1, 65_535) ?? 0;
    const published = fields.integer("published", 0, 65_535) ?? target;
    const name = fields.string("name") ?? "";
    const app = parseProtocol(fields.string("app_protocol") ?? "");
    fields.finish(["protocol", "mode", "host_ip"]);
    return composePort(target, published, name, app ?? protocol);
  }
  const match =
    item.kind === "scalar" ? /^(?:.*?:)??(?:(\d+):)?(\d+)(?:\/(\w+))?$/.exec(item.text) : null;
  const target = Number(match?.[2]);
  if (!(target > 0 && target < 65_536)) {
    reader.refuse("ports", "heddle-file.type", `ports[${index}] is not PORT or HOSTPORT:PORT`);
    return undefined;
  }
  const isUdp = match?.[3] === "udp";
  return composePort(target, Number(match?.[1] ?? target), "", isUdp ? "udp" : protocol);
}

function composePort(
  target: number,
  hostPort: number,
  name: string,
  protocol: WorkloadPort["protocol"] | undefined,
): ComposePort {
  const known = protocol ?? protocolOfPortName(name);
  const label = known === "auto" ? "port" : known;
  return {
    name: name || `${label}-${target}`,
    port: target,
    targetPort: target,
    hostPort,
    protocol: known,
  };
}

/** A mapping, or a list of `KEY=VALUE`. */
function readPairs(reader: FieldReader, key: string): Readonly<Record<string, string>> {
  if (reader.node(key)?.kind !== "sequence") return reader.texts(key);
  const pairs = reader.strings(key).map((pair): [string, string] => {
    const at = pair.indexOf("=");
    return at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
  });
  return Object.fromEntries(pairs);
}

function readDependsOn(reader: FieldReader): readonly string[] {
  const node = reader.node("depends_on");
  if (node?.kind === "mapping") return node.entries.map((entry) => entry.key);
  return reader.strings("depends_on");
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
