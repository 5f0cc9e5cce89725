/** Istio's reading of a port's protocol: `appProtocol`-like texts, or the prefix of the port's name. */
import type { PortProtocol } from "../../model/workload.ts";

const protocols: ReadonlyMap<string, PortProtocol> = new Map([
  ["http", "http"],
  ["http2", "http2"],
  ["h2c", "http2"],
  ["grpc", "grpc"],
  ["grpc-web", "http"],
  ["ws", "http"],
  ["tcp", "tcp"],
  ["mongo", "tcp"],
  ["mysql", "tcp"],
  ["redis", "tcp"],
  ["tls", "tls"],
  ["https", "https"],
  ["udp", "udp"],
  ["auto", "auto"],
]);

export const protocolNames: string = [...protocols.keys()].join(", ");

/** `HTTP` → `http`; undefined when nobody knows it. */
export function parseProtocol(text: string): PortProtocol | undefined {
  return protocols.get(text.toLowerCase());
}

/** `http-admin` → `http`; names without a known prefix are detected from first bytes. */
export function protocolOfPortName(name: string): PortProtocol {
  return protocols.get(name) ?? protocols.get(name.split("-")[0] ?? "") ?? "auto";
}
