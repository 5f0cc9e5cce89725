/** Ports of a Compose service, in all the ways Compose has to write them. */
import type { SourcePosition } from "../../base/problem.ts";
import type { YamlNode } from "../../model/yaml.ts";
import type { WorkloadPort } from "../mesh-file.ts";
import { parseProtocol, protocolNames, protocolOfPortName } from "./protocol.ts";
import { FieldReader } from "./reader.ts";

export interface ComposePort extends WorkloadPort {
  /** The port itself where none is published. */
  readonly hostPort: number;
  readonly position: SourcePosition;
}

type Protocol = WorkloadPort["protocol"];

interface Published {
  readonly target: number;
  readonly hostPort: number | undefined;
  readonly hostAddress: string | undefined;
  readonly name: string;
  readonly protocol: Protocol | undefined;
  readonly position: SourcePosition;
}

/** `protocol`: what the service's label says of all its ports. */
export function readComposePorts(
  reader: FieldReader,
  protocol: Protocol | undefined,
  isGateway: boolean,
): readonly ComposePort[] {
  const node = reader.node("ports");
  const items: readonly YamlNode[] = node?.kind === "sequence" ? node.items : [];
  if (node !== undefined && node.kind !== "sequence") reader.strings("ports"); // says what it must be
  const published = items.flatMap((item, index) => readPort(item, reader, index) ?? []);
  for (const port of published) reportPublished(port, reader, isGateway);
  const exposed = reader.strings("expose").flatMap((text) => {
    const target = Number(text);
    if (isPort(target)) return [target];
    reader.refuse("expose", "heddle-file.type", `expose: ${text} is not a port`);
    return [];
  });
  const position = reader.positionOf("expose");
  const rest = exposed.filter((target) => !published.some((one) => one.target === target));
  return [
    ...published.map((port) => composePort(port, protocol)),
    ...rest.map((target) =>
      composePort(
        { target, hostPort: undefined, hostAddress: undefined, name: "", protocol, position },
        protocol,
      ),
    ),
  ];
}

/** `"8080:80"`, `"127.0.0.1:8080:80"`, `80`, `{ target, published, name, app_protocol }`. */
function readPort(item: YamlNode, reader: FieldReader, index: number): Published | undefined {
  if (item.kind === "mapping") return readLongPort(item, reader, index);
  const match =
    item.kind === "scalar"
      ? /^(?:(\[[^\]]*\]|[^:]*):)??(?:(\d+):)?(\d+)(?:\/(\w+))?$/.exec(item.text)
      : null;
  const target = Number(match?.[3]);
  const hostPort = match?.[2] === undefined ? undefined : Number(match[2]);
  if (!isPort(target) || (hostPort ?? 0) > 65_535) {
    const hint = "PORT, HOSTPORT:PORT or ADDRESS:HOSTPORT:PORT; one port each";
    reader.refuse("ports", "heddle-file.type", `ports[${index}] is not a port`, hint);
    return undefined;
  }
  return {
    target,
    hostPort,
    hostAddress: match?.[1],
    name: "",
    protocol: match?.[4] === "udp" ? "udp" : undefined,
    position: item.position,
  };
}

function readLongPort(
  item: Extract<YamlNode, { readonly kind: "mapping" }>,
  reader: FieldReader,
  index: number,
): Published | undefined {
  const fields = new FieldReader(item, `${reader.path}.ports[${index}]`, reader.problems);
  const target = fields.integer("target", 1, 65_535);
  if (target === undefined) {
    fields.refuse("target", "heddle-file.required", "target must be given");
  }
  const isUdp = fields.string("protocol") === "udp";
  const spoken = readProtocol(fields, "app_protocol", fields.string("app_protocol"));
  if (fields.node("mode") !== undefined) {
    fields.warn("mode", "heddle-file.container", "mode has no effect on one machine");
  }
  const port: Published = {
    target: target ?? 1,
    hostPort: fields.integer("published", 0, 65_535),
    hostAddress: fields.string("host_ip"),
    name: fields.string("name") ?? "",
    protocol: isUdp ? "udp" : spoken,
    position: item.position,
  };
  fields.finish();
  return port;
}

/** A protocol's name in a field; one that nobody knows is refused. */
export function readProtocol(
  reader: FieldReader,
  key: string,
  text: string | undefined,
): Protocol | undefined {
  if (text === undefined) return undefined;
  const protocol = parseProtocol(text);
  if (protocol === undefined) {
    const hint = `known: ${protocolNames}`;
    reader.refuse(key, "heddle-file.protocol", `${text} is not a protocol`, hint);
  }
  return protocol;
}

function reportPublished(port: Published, reader: FieldReader, isGateway: boolean): void {
  const { target, hostPort, hostAddress, position } = port;
  const warn = (message: string, hint: string): void => {
    const path = `${reader.path}.ports`;
    const code = "heddle-file.published";
    reader.problems.push({ code, severity: "warning", path, message, hint, source: position });
  };
  if (!isGateway && hostPort !== undefined) {
    warn(
      `port ${hostPort} of the host is not opened: port ${target} is reached through the mesh`,
      'give a service the label heddle.gateway: "true" for what comes from outside',
    );
  } else if (
    isGateway &&
    hostAddress !== undefined &&
    !/^(?:127\.0\.0\.1|localhost)?$/.test(hostAddress)
  ) {
    warn(
      `port ${hostPort ?? target} is opened on 127.0.0.1, not on ${hostAddress}`,
      "a heddle.yaml can say where: console: { address: … }",
    );
  }
}

function composePort(port: Published, ofService: Protocol | undefined): ComposePort {
  const { target, hostPort, name, position } = port;
  const protocol = port.protocol ?? ofService ?? protocolOfPortName(name);
  const label = protocol === "auto" ? "port" : protocol;
  return {
    name: name || `${label}-${target}`,
    port: target,
    targetPort: target,
    hostPort: hostPort ?? target,
    protocol,
    position,
  };
}

function isPort(number: number): boolean {
  return Number.isInteger(number) && number > 0 && number < 65_536;
}
