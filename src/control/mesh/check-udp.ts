/** UDP that is not carried as it was declared: nothing encrypts it, and not every address is captured. */
import type { Problem } from "../../base/problem.ts";
import type { MeshModel, MeshPort, MeshService } from "../mesh-model.ts";
import { problemOf } from "./finding.ts";
import { peerAuthenticationsFor } from "./security.ts";
import { hasCapturedAddress, isClosedToUdp } from "./udp.ts";

export function checkUdp(model: MeshModel): Problem[] {
  return [...model.services.values()].flatMap((service) =>
    service.ports
      .filter(({ protocol }) => protocol === "udp")
      .flatMap((port) => [...closedTo(model, service, port), ...notCaptured(service, port)]),
  );
}

function closedTo(model: MeshModel, service: MeshService, port: MeshPort): Problem[] {
  const closed = service.instances.find((one) => isClosedToUdp(model, one, port.targetPort));
  const policy = closed === undefined ? undefined : peerAuthenticationsFor(model, closed).at(-1);
  if (closed === undefined || policy === undefined) return [];
  return [
    problemOf(policy, {
      code: "peerauthentication.udp-closed",
      severity: "warning",
      path: "spec",
      message: `${service.hostname}:${port.number} speaks UDP, which nothing encrypts: ${closed.name} asks for mutual TLS, so callers send it no datagrams`,
      hint: `where plaintext is meant, say portLevelMtls: { ${port.targetPort}: { mode: DISABLE } } for ${closed.workload}`,
    }),
  ];
}

function notCaptured(service: MeshService, port: MeshPort): Problem[] {
  const { entry } = service;
  if (entry === undefined) return [];
  if (hasCapturedAddress(service) && service.resolution !== "none") return [];
  return [
    problemOf(entry, {
      code: "serviceentry.udp-not-captured",
      severity: "warning",
      path: "spec.addresses",
      message: `UDP to ${service.hostname}:${port.number} is neither balanced nor counted: only addresses that Heddle gives to hosts are captured`,
      hint: "leave out addresses, and say resolution: STATIC or DNS",
    }),
  ];
}
