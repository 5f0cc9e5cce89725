/**
 * What is wrong between resources that are each right: names that lead nowhere, subsets that nobody
 * defines, routes that no request reaches, policies that select nothing. Each sort of finding has a file of its
 * own and a line here.
 */
import type { Problem } from "../../base/problem.ts";
import type { MeshModel } from "../mesh-model.ts";
import { checkConnectionRoutes } from "./check-connection-routes.ts";
import { checkDestinationRules } from "./check-destination-rules.ts";
import { checkGateways } from "./check-gateways.ts";
import { checkVirtualServiceHosts, checkVirtualServices } from "./check-routes.ts";
import { checkSecurity } from "./check-security.ts";
import { checkTcpPlaces } from "./check-tcp-places.ts";
import { checkTracing } from "./check-tracing.ts";
import { checkUdp } from "./check-udp.ts";

type Check = (model: MeshModel) => readonly Problem[];

/** In the order in which problems are shown. */
const checks: readonly Check[] = [
  checkVirtualServices,
  checkVirtualServiceHosts,
  checkConnectionRoutes,
  checkDestinationRules,
  checkGateways,
  checkTcpPlaces,
  checkUdp,
  checkSecurity,
  checkTracing,
];

/** Every cross-resource problem of a model. */
export function checkMesh(model: MeshModel): Problem[] {
  return checks.flatMap((check) => check(model));
}
