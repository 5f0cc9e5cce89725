/** An authorization service, whichever way it is asked. */
import type { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { compileGrpcService } from "./ext-authz-grpc.ts";
import { type AuthzService, compileService } from "./ext-authz-service.ts";

/** One of them is set. */
export type ServiceChoice = Pick<ExtAuthz, "grpcService" | "httpService">;

/** `config` says what a service is told. Throws a refusal. */
export function compileChosenService(
  { grpcService, httpService }: ServiceChoice,
  config: ExtAuthz,
  path: string,
): AuthzService {
  return grpcService === undefined
    ? compileService(config, httpService, path)
    : compileGrpcService(config, grpcService, path);
}
