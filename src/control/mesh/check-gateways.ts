/** Findings about Gateways and the gateways that carry them out: each must offer what the other asks. */
import type { Problem } from "../../base/problem.ts";
import type { Gateway } from "../../model/config-resource.ts";
import type { GatewayServer } from "../../model/gateway.ts";
import { carriedBy } from "../../model/gateway.ts";
import { selects } from "../../model/matching.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshModel } from "../mesh-model.ts";
import { problemOf } from "./finding.ts";
import { gatewaysOf } from "./lookup.ts";

export function checkGateways(model: MeshModel): Problem[] {
  const running = model.instances.filter((one) => one.role === "gateway");
  return [
    ...model.resources.Gateway.flatMap((gateway) => checkGateway(gateway, running)),
    ...running.flatMap((one) => unusedPorts(model, one)),
    ...running.flatMap((one) => mixedPorts(model, one)),
  ];
}

function checkGateway(gateway: Gateway, running: readonly WorkloadInstance[]): Problem[] {
  const chosen = running.filter((one) => selects(gateway.spec.selector, one.labels));
  if (chosen.length === 0) {
    const labels = JSON.stringify(gateway.spec.selector ?? {});
    return [
      problemOf(gateway, {
        code: "gateway.selects-nothing",
        path: "spec.selector",
        severity: "warning",
        message: `no gateway has the labels ${labels}, so nothing listens`,
        hint: "declare it under gateways in heddle.yaml",
      }),
    ];
  }
  return gateway.spec.servers.flatMap((server, index) => {
    const { number } = server.port;
    const listens = chosen.some((one) => one.ports.some((port) => port.port === number));
    if (listens || chosen.every((one) => one.ports.length === 0)) return [];
    return problemOf(gateway, {
      code: "gateway.closed-port",
      path: `spec.servers[${index}].port.number`,
      severity: "warning",
      message: `port ${number} is not opened by ${chosen[0]?.name ?? "the gateway"}`,
      hint: "add the port to the gateway in heddle.yaml",
    });
  });
}

/** Ports that the gateway is declared with and no Gateway has a server for. */
function unusedPorts(model: MeshModel, { workload, labels, ports }: WorkloadInstance): Problem[] {
  const wanting = model.resources.Gateway.filter((one) => selects(one.spec.selector, labels));
  const wanted = new Set(wanting.flatMap((one) => one.spec.servers.map(({ port }) => port.number)));
  const name = "istio" in labels ? "istio" : "app";
  return ports
    .filter(({ port }) => !wanted.has(port))
    .map(({ port, source }): Problem => ({
      code: "gateway.unused-port",
      severity: "warning",
      path: `gateways.${workload}.ports`,
      message: `no Gateway has a server for port ${port} of ${workload}, so nothing answers there`,
      hint: `add one to a Gateway with the selector { ${name}: ${labels[name] ?? workload} }, or take the port out of heddle.yaml`,
      ...(source === undefined ? {} : { source }),
    }));
}

/** A port carries requests, TLS that is passed on, or bytes: the first Gateway's server decides. */
function mixedPorts(model: MeshModel, instance: WorkloadInstance): Problem[] {
  const first = new Map<number, { readonly owner: Gateway; readonly server: GatewayServer }>();
  return gatewaysOf(model, instance).flatMap((gateway) =>
    gateway.spec.servers.flatMap((server, index) => {
      const { number, protocol } = server.port;
      const earlier = first.get(number);
      if (earlier === undefined) {
        first.set(number, { owner: gateway, server });
        return [];
      }
      if (carriedBy(earlier.server) === carriedBy(server)) return [];
      const { owner } = earlier;
      return problemOf(gateway, {
        code: "gateway.mixed-port",
        path: `spec.servers[${index}].port`,
        message: `port ${number} is ${earlier.server.port.protocol} by Gateway ${owner.namespace}/${owner.name}, so nothing listens for ${protocol}`,
        hint: "give one of them another port",
      });
    }),
  );
}
