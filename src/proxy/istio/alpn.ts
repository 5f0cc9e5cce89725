/**
 * Istio's `istio.alpn` filter: what HTTP connections to proxies of the mesh offer by ALPN, instead of
 * what the cluster's TLS context says for connections of any kind.
 */
import {
  FilterConfig,
  FilterConfig_Protocol as Protocol,
} from "../../wire/gen/ts/envoy/config/filter/http/alpn/v2alpha1/config.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";

export const alpnUrl =
  "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";

/** Protocols offered for requests of HTTP/1.1, the only ones sent; throws a refusal. */
export function compileAlpn(bytes: Uint8Array, path: string): readonly string[] {
  const config = honoured(FilterConfig.decode(bytes), { alpnOverride: true }, path);
  const override = config.alpnOverride.find(
    ({ upstreamProtocol }) => upstreamProtocol === Protocol.HTTP11,
  );
  const offered = override?.alpnOverride ?? [];
  if (offered.length === 0) refuse(`${path}.alpn_override`, "names no protocol for HTTP11");
  return offered;
}
