/** Where a gRPC service of the bootstrap is dialled: a static cluster, read for this use alone. */
import { anyUnpack } from "@bufbuild/protobuf/wkt";

import type { GrpcClientTls } from "../../net/grpc-client.ts";
import { defaultGrpcKeepalive, type GrpcAddress, type GrpcKeepalive } from "../../net/grpc.ts";
import type { Cluster } from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import type { DataSource } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type { GrpcService } from "../../wire/gen/es/envoy/config/core/v3/grpc_service_pb.ts";
import type { CertificateValidationContext } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import {
  type UpstreamTlsContext,
  UpstreamTlsContextSchema,
} from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";
import { refuse } from "../engine/refusal.ts";

export interface GrpcServerPlan {
  readonly cluster: string;
  readonly target: GrpcAddress;
  readonly tls: GrpcClientTls | undefined;
  readonly keepalive: GrpcKeepalive;
  /** Headers of each call. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number | undefined;
}

/** Throws a refusal; `path` is the service's. */
export function planGrpcServer(
  services: readonly GrpcService[],
  clusters: readonly Cluster[],
  path: string,
): GrpcServerPlan {
  const [service] = services;
  if (service === undefined) return refuse(path, "is required");
  if (services.length > 1) refuse(`${path}[1]`, "only one service is supported");
  const { targetSpecifier: target } = service;
  if (target.case !== "envoyGrpc") {
    return refuse(
      `${path}[0].${target.case === "googleGrpc" ? "google_grpc" : "envoy_grpc"}`,
      "only envoy_grpc is supported",
    );
  }
  const name = target.value.clusterName;
  const metadata = Object.fromEntries(
    service.initialMetadata.map(({ key, value }) => [key.toLowerCase(), value]),
  );
  return { ...planGrpcCluster(name, clusters, `${path}[0].envoy_grpc.cluster_name`), metadata };
}

/** The same for a cluster that a resource names, as one of secrets may. */
export function planGrpcCluster(
  name: string,
  clusters: readonly Cluster[],
  path: string,
): GrpcServerPlan {
  const at = clusters.findIndex((cluster) => cluster.name === name);
  const cluster = clusters[at];
  if (cluster === undefined) return refuse(path, `static_resources has no cluster '${name}'`);
  const place = `static_resources.clusters[${at}]`;
  const endpoints = (cluster.loadAssignment?.endpoints ?? []).flatMap((one) => one.lbEndpoints);
  if (endpoints.length !== 1) {
    refuse(`${place}.load_assignment`, "a cluster for gRPC needs exactly one endpoint");
  }
  const host = endpoints[0]?.hostIdentifier;
  const address = host?.case === "endpoint" ? host.value.address?.address : undefined;
  const seconds = cluster.connectTimeout;
  return {
    cluster: name,
    target: targetOf(address, `${place}.load_assignment`),
    tls: tlsOf(cluster, address?.case === "socketAddress" ? address.value.address : "", place),
    keepalive: defaultGrpcKeepalive,
    metadata: {},
    connectTimeoutMs:
      seconds === undefined ? undefined : Number(seconds.seconds) * 1000 + seconds.nanos / 1e6,
  };
}

type Address = NonNullable<
  NonNullable<
    Extract<
      NonNullable<
        NonNullable<Cluster["loadAssignment"]>["endpoints"][number]["lbEndpoints"][number]
      >["hostIdentifier"],
      { case: "endpoint" }
    >["value"]["address"]
  >["address"]
>;

function targetOf(address: Address | undefined, path: string): GrpcAddress {
  if (address?.case === "pipe") return { path: address.value.path };
  if (address?.case === "socketAddress" && address.value.portSpecifier.case === "portValue") {
    return { address: address.value.address, port: address.value.portSpecifier.value };
  }
  return refuse(path, "needs an address with a port, or a pipe");
}

const tlsTypes = /\.(raw_buffer|tls)$/;

function tlsOf(cluster: Cluster, host: string, place: string): GrpcClientTls | undefined {
  const socket = cluster.transportSocket;
  if (socket === undefined) return undefined;
  const path = `${place}.transport_socket`;
  const config = socket.configType.case === "typedConfig" ? socket.configType.value : undefined;
  const context = config === undefined ? undefined : anyUnpack(config, registry);
  if (context === undefined || context.$typeName !== UpstreamTlsContextSchema.typeName) {
    if (socket.name.endsWith(".raw_buffer") && tlsTypes.test(socket.name)) return undefined;
    return refuse(path, "only TLS is supported towards a gRPC server");
  }
  // The name was compared.
  return readTls(context as UpstreamTlsContext, host, `${path}.typed_config`);
}

function readTls(tls: UpstreamTlsContext, host: string, path: string): GrpcClientTls {
  const common = tls.commonTlsContext;
  const place = `${path}.common_tls_context`;
  const type = common?.validationContextType;
  let validation: CertificateValidationContext | undefined;
  if (type?.case === "validationContext") validation = type.value;
  if (type?.case === "combinedValidationContext") validation = type.value.defaultValidationContext;
  const roots = textOf(validation?.trustedCa);
  if (roots === "") refuse(`${place}.validation_context.trusted_ca`, "is required");
  if ((common?.tlsCertificateSdsSecretConfigs.length ?? 0) > 0) {
    refuse(`${place}.tls_certificate_sds_secret_configs`, "is not supported towards a gRPC server");
  }
  const [exact, ...more] = (validation?.matchTypedSubjectAltNames ?? []).flatMap(({ matcher }) =>
    matcher?.matchPattern.case === "exact" ? [matcher.matchPattern.value] : [undefined],
  );
  if (
    more.length > 0 ||
    (validation?.matchTypedSubjectAltNames.length === 1 && exact === undefined)
  ) {
    refuse(`${place}.validation_context.match_typed_subject_alt_names`, "must be one exact name");
  }
  const [certificate] = common?.tlsCertificates ?? [];
  return {
    roots,
    serverName: exact ?? (tls.sni === "" ? host : tls.sni),
    ...(certificate === undefined
      ? {}
      : {
          certificate: {
            chainPem: textOf(certificate.certificateChain),
            privateKeyPem: textOf(certificate.privateKey),
          },
        }),
  };
}

/** Files were read into the message before. */
export function textOf(source: DataSource | undefined): string {
  const specifier = source?.specifier;
  if (specifier?.case === "inlineString") return specifier.value;
  if (specifier?.case === "inlineBytes") return Buffer.from(specifier.value).toString();
  return "";
}
