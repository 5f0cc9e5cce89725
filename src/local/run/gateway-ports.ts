/** Ports of gateways as the mesh file has them now: which shall be open, and where each is written. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import { gatewayPortKey, type MeshFile } from "../mesh-file.ts";
import type { GatewayTarget } from "./host-ports.ts";

/** `addressOf` an instance, by key; undefined while it has no place. */
export function gatewayTargets(
  file: MeshFile,
  addressOf: (key: string) => string | undefined,
): readonly GatewayTarget[] {
  return file.gateways.flatMap((gateway) =>
    gateway.ports.map((port) => ({
      key: gatewayPortKey(gateway, port.port),
      position: port.position,
      hostAddress: file.hostAddress,
      hostPort: port.hostPort,
      name: gateway.name,
      target: (): SocketAddress | undefined => {
        const address = addressOf(`${gateway.namespace}/${gateway.name}-0`);
        return address === undefined ? undefined : { address, port: port.port };
      },
    })),
  );
}

/** The instances, those of gateways with the places of their ports. */
export function withPlaces(
  instances: readonly WorkloadInstance[],
  file: MeshFile,
): readonly WorkloadInstance[] {
  const places = new Map(
    file.gateways.flatMap((gateway) =>
      gateway.ports.map(({ port, position }) => [gatewayPortKey(gateway, port), position]),
    ),
  );
  return instances.map((one) => {
    if (one.role !== "gateway") return one;
    const gateway = { name: one.workload, namespace: one.namespace };
    const ports = one.ports.map((port) => {
      const source = places.get(gatewayPortKey(gateway, port.port));
      return source === undefined ? port : { ...port, source };
    });
    return { ...one, ports };
  });
}
