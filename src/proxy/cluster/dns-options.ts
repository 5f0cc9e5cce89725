/** What a cluster says of asking for names beyond when: which resolver is meant, and pauses after failures. */
import { honouredCaresResolver } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import type {
  Cluster,
  Cluster_RefreshRate as RefreshRate,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { CaresDnsResolverConfig } from "../../wire/gen/ts/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";

/** Pauses double from `baseMs` on, and each is anything up to that. */
export interface DnsPauses {
  readonly baseMs: number;
  readonly maxMs: number;
}

export function compileDnsPauses(
  rate: RefreshRate | undefined,
  path: string,
): DnsPauses | undefined {
  if (rate === undefined) return undefined;
  const baseMs = durationMs(rate.baseInterval) ?? 0;
  const maxMs = durationMs(rate.maxInterval) ?? 10 * baseMs;
  if (baseMs < 1) refuse(`${path}.base_interval`, "must be at least a millisecond");
  if (maxMs < baseMs) refuse(`${path}.max_interval`, "must not be shorter than base_interval");
  return { baseMs, maxMs };
}

const caresType =
  "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig";
const systemType =
  "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig";

/** Names are resolved by the machine's own resolver: what asks for another is refused. */
export function checkResolver({ typedDnsResolverConfig: typed }: Cluster): void {
  if (typed === undefined) return;
  const path = "typed_dns_resolver_config";
  const { typeUrl = "", value = new Uint8Array(0) } = typed.typedConfig ?? {};
  const place = `${path}.typed_config`;
  switch (typeUrl) {
    case caresType:
      honoured(CaresDnsResolverConfig.decode(value), honouredCaresResolver, place);
      return;
    case systemType:
      if (value.length > 0) refuse(place, "is not supported: the machine's resolver is asked once");
      return;
    default:
      refuse(place, `'${typeUrl === "" ? typed.name : typeUrl}' is not supported`);
  }
}
