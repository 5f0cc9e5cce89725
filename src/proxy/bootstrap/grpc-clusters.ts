/**
 * Clusters of a bootstrap that are there for gRPC of the proxy's own: for its control plane, for
 * secrets. They speak HTTP/2, which no request that passes through the proxy does yet.
 */
import { type Message, isMessage } from "@bufbuild/protobuf";
import { type Any, AnySchema, anyUnpack } from "@bufbuild/protobuf/wkt";

import type { Bootstrap } from "../../wire/gen/es/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import type { Cluster } from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { HttpProtocolOptionsSchema } from "../../wire/gen/es/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";

/** It asks for HTTP/2, or for a socket file, and no listener of the bootstrap names it. */
export function servesGrpcAlone(cluster: Cluster, bootstrap: Bootstrap): boolean {
  if (bootstrap.dynamicResources === undefined || !speaksHttp2(cluster)) return false;
  return !(bootstrap.staticResources?.listeners ?? []).some((listener) =>
    names(listener, cluster.name),
  );
}

function speaksHttp2(cluster: Cluster): boolean {
  if (cluster.http2ProtocolOptions !== undefined) return true;
  return Object.values(cluster.typedExtensionProtocolOptions).some((any) => {
    const options = anyUnpack(any, HttpProtocolOptionsSchema);
    const explicit = options?.upstreamProtocolOptions;
    return (
      explicit?.case === "explicitHttpConfig" &&
      explicit.value.protocolConfig.case === "http2ProtocolOptions"
    );
  });
}

/** Whether a text of the message, at any depth, is this one. */
function names(value: unknown, text: string): boolean {
  if (value === text) return true;
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return false;
  if (isMessage(value, AnySchema)) return names(unpacked(value), text);
  return Object.values(value).some((inner) => names(inner, text));
}

function unpacked(any: Any): Message | undefined {
  return anyUnpack(any, registry);
}
