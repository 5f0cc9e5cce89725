/**
 * What an application is told by its environment. Captured ones need only `PORT`; in explicit mode
 * HTTP goes by the proxy variables, raw TCP by one local port for each declared destination. What the
 * mesh sets is not the file's to set: whoever tries is told (`file/unheeded.ts`, `file/whole.ts`).
 */
import type { WorkloadSpec } from "../mesh-file.ts";
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
    environment[portVariable(port)] = String(appPort ?? port);
  }
  const proxy = `http://127.0.0.1:${place.sidecarPorts.outbound}`;
  Object.assign(environment, proxyVariables(proxy));
  for (const [index, destination] of spec.destinations.entries()) {
    const local = place.localDestinations[index];
    if (local === undefined) continue;
    environment[addressVariable(destination.service)] = `127.0.0.1:${local.localPort}`;
  }
  return environment;
}

/** Names that explicit mode sets besides `PORT`. */
export function explicitVariables(spec: WorkloadSpec): ReadonlySet<string> {
  return new Set([
    ...Object.keys(proxyVariables("")),
    ...spec.ports.map(({ targetPort }) => portVariable(targetPort)),
    ...spec.destinations.map(({ service }) => addressVariable(service)),
  ]);
}

function proxyVariables(proxy: string): Readonly<Record<string, string>> {
  return {
    HOST: "127.0.0.1",
    http_proxy: proxy,
    HTTP_PROXY: proxy,
    NO_PROXY: "localhost,127.0.0.1,::1",
    no_proxy: "localhost,127.0.0.1,::1",
    NODE_USE_ENV_PROXY: "1",
  };
}

function portVariable(port: number): string {
  return `PORT_${port}`;
}

/** `stock-ledger` → `STOCK_LEDGER_ADDR`. */
export function addressVariable(service: string): string {
  const name = (service.split(".")[0] ?? service).toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
  return `${name}_ADDR`;
}
