/**
 * What a sidecar says of itself on its admin socket (`GET /agent`): readiness, its xDS stream, the
 * age of its configuration and certificate. The control plane is not needed to ask.
 */
import type { AdsStatus } from "../xds/ads-client.ts";
import type { AdminHandler } from "./admin.ts";

export interface AgentStatus {
  /** `cart-0.default`. */
  readonly instance: string;
  readonly dataPlane: "heddle" | "envoy";
  /** Why it cannot serve, in one sentence; absent when it can. */
  readonly notReady?: string;
  readonly stream: AdsStatus["stream"];
  /** When a control plane last said that the configuration is current; absent before the first. */
  readonly confirmedAtMs?: number;
  /** When the proxy accepted the last change of its configuration; absent before the first. */
  readonly acceptedAtMs?: number;
  /** End of the certificate's validity; absent without one. */
  readonly certificateNotAfterMs?: number;
}

/** Answers `/agent` itself and leaves the rest to the data plane. */
export function withAgentStatus(
  plane: AdminHandler,
  status: () => Promise<AgentStatus>,
): AdminHandler {
  return async (request) => {
    if (request.path !== "/agent" || request.method !== "GET") return await plane(request);
    const body = `${JSON.stringify(await status())}\n`;
    return { status: 200, contentType: "application/json", body };
  };
}
