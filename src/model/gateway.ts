/** Gateway: the ports and hosts that a gateway's proxy offers to callers outside the mesh. */
import type { LabelSelector } from "./matching.ts";
import { labels } from "./matching.ts";
import { flag, oneOf, portNumber, text } from "./scalar-types.ts";
import type { Place, Type } from "./schema.ts";
import { list, object, refine } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";
import { yamlField } from "./yaml.ts";

export interface GatewaySpec {
  readonly selector?: LabelSelector;
  readonly servers: readonly GatewayServer[];
}

export interface GatewayServer {
  readonly name?: string;
  readonly port: {
    readonly number: number;
    readonly name?: string;
    readonly protocol: ServerProtocol;
  };
  readonly hosts: readonly string[];
  readonly tls?: ServerTls;
}

/** `TLS` and `HTTPS` are passed as they are: the certificate is that of who stands behind the gateway. */
export type ServerProtocol =
  | "HTTP"
  | "HTTP2"
  | "GRPC"
  | "GRPC-WEB"
  | "TCP"
  | "MONGO"
  | "TLS"
  | "HTTPS";

export interface ServerTls {
  readonly httpsRedirect?: boolean;
  readonly mode?: "PASSTHROUGH";
}

/** What a server's connections are chosen by: requests, the name in TLS, or nothing but the port. */
export function carriedBy({ port }: GatewayServer): "http" | "tls" | "tcp" {
  switch (port.protocol) {
    case "HTTP":
    case "HTTP2":
    case "GRPC":
    case "GRPC-WEB":
      return "http";
    case "TCP":
    case "MONGO":
      return "tcp";
    case "TLS":
    case "HTTPS":
      return "tls";
  }
}

const notTls = (effect: string): { readonly effect: string; readonly rest: "stops" } => ({
  effect,
  rest: "stops",
});

const mode: Type<"PASSTHROUGH"> = refine(
  oneOf("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"),
  (value, node, place) =>
    value === "PASSTHROUGH"
      ? value
      : place.complain(node.position, {
          code: "config.not-honoured",
          message: `mode ${value} is not honoured yet; ${place.findings.whenUnsound}`,
          hint: "use PASSTHROUGH",
        }),
);

const serverTls: Type<ServerTls> = object<ServerTls>(
  { httpsRedirect: flag, mode },
  {
    unhonoured: Object.fromEntries(
      (
        "serverCertificate privateKey caCertificates caCrl credentialName credentialNames " +
        "caCertCredentialName tlsCertificates subjectAltNames verifyCertificateSpki " +
        "verifyCertificateHash minProtocolVersion maxProtocolVersion cipherSuites " +
        "insecureSkipVerify"
      )
        .split(" ")
        .map((name) => [name, notTls("terminates TLS at the gateway")]),
    ),
  },
);

const protocol: Type<ServerProtocol> = oneOf(
  "HTTP",
  "HTTPS",
  "GRPC",
  "GRPC-WEB",
  "HTTP2",
  "MONGO",
  "TCP",
  "TLS",
);

const gatewayHost: Type<string> = refine(text, (value, node, place) => {
  const [namespace, name] = value.includes("/") ? value.split("/", 2) : ["*", value];
  const isNamespace = /^(?:\*|\.|[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)$/.test(namespace ?? "");
  const isName = /^(?:\*|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)$/.test(name ?? "");
  return isNamespace && isName
    ? value
    : place.complain(node.position, {
        code: "config.bad-hostname",
        message: `${JSON.stringify(value)} is not a host of a gateway`,
        hint: "write a name, *.name, * or namespace/name",
      });
});

const server: Type<GatewayServer> = object<GatewayServer>(
  {
    name: text,
    port: object<GatewayServer["port"]>(
      { number: portNumber, name: text, protocol },
      { required: ["number", "protocol"], deprecated: { targetPort: "number alone" } },
    ),
    hosts: list(gatewayHost, { min: 1 }),
    tls: serverTls,
  },
  {
    required: ["port", "hosts"],
    unhonoured: {
      bind: { effect: "listens on one address only", rest: "stops" },
      defaultEndpoint: { effect: "sends everything to one endpoint", rest: "stops" },
    },
    check: checkTls,
  },
);

function checkTls(written: Partial<GatewayServer>, node: YamlNode, place: Place): void {
  const { port, hosts, tls } = written;
  if (port?.protocol === undefined || hosts === undefined) return;
  const { protocol: name } = port;
  const complain = (code: string, message: string, hint: string): void => {
    place.field("tls").complain(node.position, { code, message, hint });
  };
  const carried = carriedBy({ ...written, port, hosts });
  const hasTls = yamlField(node, "tls") !== undefined;
  const says = yamlField(yamlField(node, "tls"), "mode") !== undefined;
  if (carried === "tls" && !says) {
    complain(
      "config.missing",
      `protocol ${name} needs tls.mode`,
      "write tls: { mode: PASSTHROUGH }",
    );
  }
  if (carried === "http" && tls?.mode !== undefined) {
    complain("config.conflict", `protocol ${name} has no TLS`, "write protocol: HTTPS");
  }
  if (carried === "tcp" && hasTls) {
    complain("config.conflict", `protocol ${name} has no TLS`, "write protocol: TLS");
  }
  if (carried === "tls" && tls?.httpsRedirect === true) {
    complain("config.conflict", "only a server of HTTP redirects to HTTPS", "take it out");
  }
}

export const gatewaySpec: Type<GatewaySpec> = object<GatewaySpec>(
  { selector: labels, servers: list(server, { min: 1 }) },
  {
    required: ["servers"],
    check(spec, node, place) {
      const names = (spec.servers ?? []).flatMap((one) => one.name ?? []);
      if (new Set(names).size < names.length) {
        const message = "two servers have the same name";
        place.field("servers").complain(node.position, { code: "config.duplicate", message });
      }
    },
  },
);
