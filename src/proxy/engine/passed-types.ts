/** Which values of a PROXY header go on to upstreams (`pass_through_tlvs`), by their type. */
import {
  ProxyProtocolPassThroughTLVs_PassTLVsMatchType as MatchType,
  type ProxyProtocolPassThroughTLVs as PassThrough,
} from "../../wire/gen/ts/envoy/config/core/v3/proxy_protocol.ts";
import { refuse } from "./refusal.ts";

export type PassedTypes = (type: number) => boolean;

/** Undefined passes nothing. Throws a refusal. */
export function compilePassedTypes(config: PassThrough | undefined, path: string): PassedTypes {
  if (config === undefined) return () => false;
  if (config.matchType === MatchType.INCLUDE_ALL) return () => true;
  const types = new Set(config.tlvType);
  for (const type of types) if (type > 255) refuse(`${path}.tlv_type`, `${type} is no byte`);
  return (type) => types.has(type);
}
