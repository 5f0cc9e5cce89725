/** Which secrets a TLS context names, and where it says that they come from. */
import { revocationsSecret } from "../../net/secret-source.ts";
import type { ConfigSource } from "../../wire/gen/ts/envoy/config/core/v3/config_source.ts";
import { ApiConfigSource_ApiType as ApiType } from "../../wire/gen/ts/envoy/config/core/v3/config_source.ts";
import type { DownstreamTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { SecretOrigin } from "../../xds/feed.ts";
import { refuse } from "../engine/refusal.ts";

/** Throws a refusal for a source of a kind that is not known. */
export function secretOrigins(
  tls: Pick<Partial<DownstreamTlsContext>, "commonTlsContext" | "sessionTicketKeysSdsSecretConfig">,
  path: string,
): ReadonlyMap<string, SecretOrigin> {
  const common = tls.commonTlsContext;
  const configs = [
    ...(common?.tlsCertificateSdsSecretConfigs ?? []),
    common?.validationContextSdsSecretConfig,
    common?.combinedValidationContext?.validationContextSdsSecretConfig,
    tls.sessionTicketKeysSdsSecretConfig,
  ];
  const origins = new Map(
    configs.flatMap((config) =>
      config === undefined ? [] : [[config.name, originOf(config.sdsConfig, `${path}.sds_config`)]],
    ),
  );
  for (const validation of [
    common?.validationContext,
    common?.combinedValidationContext?.defaultValidationContext,
  ]) {
    const list = revocationsSecret(validation?.crl?.filename);
    if (list !== undefined) origins.set(list, { kind: "unsaid" });
  }
  return origins;
}

function originOf(source: ConfigSource | undefined, path: string): SecretOrigin {
  if (source === undefined || source.self !== undefined) return { kind: "unsaid" };
  if (source.ads !== undefined) return { kind: "ads" };
  const file = source.pathConfigSource?.path ?? source.path;
  if (file !== undefined) return { kind: "file", path: file };
  const api = source.apiConfigSource;
  if (api === undefined) return refuse(path, "names no source");
  if (api.apiType !== ApiType.GRPC) return refuse(`${path}.api_type`, "only GRPC is supported");
  const cluster = api.grpcServices[0]?.envoyGrpc?.clusterName;
  if (cluster === undefined) {
    return refuse(`${path}.api_config_source.grpc_services`, "needs one envoy_grpc");
  }
  return { kind: "service", cluster };
}
