/**
 * What a sidecar says of itself on its admin socket (`GET /agent`): readiness, its xDS stream, the
 * age of its configuration and certificate. The control plane is not needed to ask. `GET /metrics`
 * answers in one scheme of names, whichever the data plane.
 */
import type { AdsStatus } from "../xds/ads-client.ts";
import { type AdminHandler, plainText } from "./admin.ts";

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

export interface AgentAnswers {
  readonly status: () => Promise<AgentStatus>;
  /** Prometheus text, Istio's names included. */
  readonly metrics: () => Promise<string> | string;
}

/** Answers `/agent` and `/metrics` itself and leaves the rest to the data plane. */
export function withAgentStatus(plane: AdminHandler, answers: AgentAnswers): AdminHandler {
  return async (request) => {
    if (request.method !== "GET") return await plane(request);
    if (request.path === "/metrics") return plainText(200, await answers.metrics());
    if (request.path !== "/agent") return await plane(request);
    const body = `${JSON.stringify(await answers.status())}\n`;
    return { status: 200, contentType: "application/json", body };
  };
}
