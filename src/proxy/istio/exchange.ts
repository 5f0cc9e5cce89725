/**
 * Istio's `istio.metadata_exchange` on TCP, where two proxies tell each other whom they stand beside
 * before the first byte, if both have agreed on the protocol `istio-peer-exchange` by ALPN. Ours does
 * not offer it, so no peer waits for it, and connections pass as they are.
 */
import type { CommonTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { refuse } from "../engine/refusal.ts";
import { checkFields, readTypedStruct } from "./typed-struct.ts";

const exchangeType = "envoy.tcp.metadataexchange.config.MetadataExchange";
const peerExchangeProtocol = "istio-peer-exchange";

/** Whether it is this filter; throws a refusal for what is not known of it. */
export function isPeerExchange(
  any: { readonly typeUrl: string; readonly value: Uint8Array } | undefined,
  path: string,
): boolean {
  const typed = readTypedStruct(any);
  if (typed?.type !== exchangeType) return false;
  checkFields(typed.fields, ["protocol", "enable_discovery"], path);
  if (typed.fields["protocol"] !== peerExchangeProtocol) {
    refuse(`${path}.protocol`, `must be ${peerExchangeProtocol}`);
  }
  return true;
}

/** A TLS context that does not agree on the exchange. */
export function withoutExchange<
  T extends { readonly commonTlsContext?: CommonTlsContext | undefined },
>(tls: T): T {
  const common = tls.commonTlsContext;
  if (common === undefined) return tls;
  const alpnProtocols = common.alpnProtocols.filter((one) => one !== peerExchangeProtocol);
  return { ...tls, commonTlsContext: { ...common, alpnProtocols } };
}
