/**
 * What an application is told by its environment. Captured ones need only `PORT`; in explicit mode
 * HTTP goes by the proxy variables, raw TCP by one local port for each declared destination.
 */
import type { Place } from "../placement.ts";
import type { WorkloadPlan } from "../plan.ts";

export function applicationEnvironment(
  plan: WorkloadPlan,
  place: Place,
): Readonly<Record<string, string>> {
  const { spec } = plan;
  const environment: Record<string, string> = { HOSTNAME: plan.name, ...spec.environment };
  const first = place.ports[0];
  if (first !== undefined) environment["PORT"] = String(first.appPort ?? first.port);
  if (place.capture !== "explicit") return environment;
  // The ports of the file are the sidecars' business here: each application listens where it is told.
  for (const { port, appPort } of place.ports) {
    environment[`PORT_${port}`] = String(appPort ?? port);
  }
  const proxy = `http://127.0.0.1:${place.sidecarPorts.outbound}`;
  environment["HOST"] = "127.0.0.1";
  environment["http_proxy"] = proxy;
  environment["HTTP_PROXY"] = proxy;
  environment["NO_PROXY"] = "localhost,127.0.0.1,::1";
  environment["no_proxy"] = "localhost,127.0.0.1,::1";
  environment["NODE_USE_ENV_PROXY"] = "1";
  for (const [index, destination] of spec.destinations.entries()) {
    const local = place.localDestinations[index];
    if (local === undefined) continue;
    environment[addressVariable(destination.service)] = `127.0.0.1:${local.localPort}`;
  }
  return environment;
}

/** `stock-ledger` → `STOCK_LEDGER_ADDR`. */
export function addressVariable(service: string): string {
  const name = (service.split(".")[0] ?? service).toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
  return `${name}_ADDR`;
}
