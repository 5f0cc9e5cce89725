/** Examples of what routes say of the authorization service that is asked for them. */
import type { JsonObject } from "@bufbuild/protobuf";

const service = { serverUri: { uri: "http://a", cluster: "app", timeout: "1s" } };
const list = { patterns: [{ exact: "a" }] };

const settings: readonly JsonObject[] = [
  {
    httpService: {
      ...service,
      pathPrefix: "/a",
      authorizationRequest: { headersToAdd: [{ key: "x-a", value: "b" }] },
      authorizationResponse: {
        allowedUpstreamHeaders: list,
        allowedUpstreamHeadersToAppend: list,
        allowedClientHeaders: list,
        allowedClientHeadersOnSuccess: list,
        dynamicMetadataFromHeaders: list,
      },
      retryPolicy: {
        retryOn: "5xx",
        numRetries: 1,
        retryBackOff: { baseInterval: "1s", maxInterval: "2s" },
      },
    },
  },
  { httpService: { ...service, pathOverride: "/a" } },
  { grpcService: { envoyGrpc: { clusterName: "a", authority: "b" }, timeout: "1s" } },
];

export const authzExamples: readonly (readonly [type: string, json: JsonObject])[] = settings.map(
  (checkSettings) => ["filters.http.ext_authz.v3.ExtAuthzPerRoute", { checkSettings }] as const,
);
