/** What is carried of UDP, and what is not, for nothing encrypts it. Pure questions to a model. */
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape, ServiceShape } from "../mesh-model.ts";
import { denyingFor, mtlsModeFor } from "./security.ts";

/**
 * Capture brings datagrams to the proxy that are sent to addresses which nobody has: those of the mesh's
 * services, and those it gives to hosts. What a ServiceEntry names itself may be somebody's.
 */
export function hasCapturedAddress(service: ServiceShape): boolean {
  return service.addresses.length > 0 && (service.entry === undefined || service.isAllocated);
}

/** Plaintext must not reach this port of a workload. */
export function isClosedToUdp(
  model: MeshShape,
  instance: Pick<WorkloadInstance, "namespace" | "labels">,
  port: number,
): boolean {
  return mtlsModeFor(model, instance, port) === "STRICT" || denyingFor(model, instance).length > 0;
}
