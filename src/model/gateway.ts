/** Gateway: the ports and hosts that a gateway's proxy offers to callers outside the mesh. */
import type { LabelSelector } from "./matching.ts";
import { labels } from "./matching.ts";
import { flag, oneOf, portNumber, text } from "./scalar-types.ts";
import type { Type } from "./schema.ts";
import { list, object, refine } from "./schema.ts";

export interface GatewaySpec {
  readonly selector?: LabelSelector;
  readonly servers: readonly GatewayServer[];
}

export interface GatewayServer {
  readonly name?: string;
  readonly port: {
    readonly number: number;
    readonly name?: string;
    readonly protocol: "HTTP" | "HTTP2" | "GRPC";
  };
  readonly hosts: readonly string[];
  readonly tls?: { readonly httpsRedirect?: boolean };
}

const notTls = (effect: string): { readonly effect: string; readonly rest: "stops" } => ({
  effect,
  rest: "stops",
});

const serverTls: Type<{ readonly httpsRedirect?: boolean }> = object<{
  readonly httpsRedirect?: boolean;
}>(
  { httpsRedirect: flag },
  {
    unhonoured: Object.fromEntries(
      (
        "mode serverCertificate privateKey caCertificates caCrl credentialName credentialNames " +
        "caCertCredentialName tlsCertificates subjectAltNames verifyCertificateSpki " +
        "verifyCertificateHash minProtocolVersion maxProtocolVersion cipherSuites " +
        "insecureSkipVerify"
      )
        .split(" ")
        .map((name) => [name, notTls("terminates TLS at the gateway")]),
    ),
  },
);

const protocol: Type<"HTTP" | "HTTP2" | "GRPC"> = refine(
  oneOf("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"),
  (value, node, place) =>
    value === "HTTP" || value === "HTTP2" || value === "GRPC"
      ? value
      : place.complain(node.position, {
          code: "config.not-honoured",
          message: `protocol ${value} is not honoured yet; ${place.findings.whenUnsound}`,
          hint: "use HTTP",
        }),
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
  },
);

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
