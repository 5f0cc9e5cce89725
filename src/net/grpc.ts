import type { SocketAddress } from "../base/socket-address.ts";
import { grpcStatus, type GrpcStatusCode } from "../wire/grpc.ts";

/** How a call ended, when not well. Handlers throw it; clients are thrown it. */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  readonly code: GrpcStatusCode;

  constructor(code: GrpcStatusCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Where gRPC is listened for or dialled: TCP or a Unix socket. */
export type GrpcAddress = SocketAddress | { readonly path: string };

export function formatGrpcAddress(address: GrpcAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  const { address: ip, port } = address;
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** How the far end of a connection is noticed to be gone, though it never said so. */
export interface GrpcKeepalive {
  /** A PING is sent this long after the last. */
  readonly intervalMs: number;
  /** Without an answer in this time the connection is closed. */
  readonly timeoutMs: number;
}

/** As istio-agent's. */
export const defaultGrpcKeepalive: GrpcKeepalive = { intervalMs: 30_000, timeoutMs: 10_000 };

/** The status a call gets when its HTTP/2 stream was reset (gRPC's table for error codes). */
export function statusOfReset(rstCode: number): GrpcStatusCode {
  switch (rstCode) {
    case 0x8: // CANCEL
      return grpcStatus.cancelled;
    case 0xb: // ENHANCE_YOUR_CALM
      return grpcStatus.resourceExhausted;
    case 0xc: // INADEQUATE_SECURITY
      return grpcStatus.permissionDenied;
    case 0x7: // REFUSED_STREAM
      return grpcStatus.unavailable;
    default:
      return grpcStatus.internal;
  }
}
