/**
 * Zone-aware balancing: requests stay in the zone of the proxy as far as the endpoints there can carry
 * what the proxies there send, and the rest goes where there is room. Where the proxies are is what the
 * cluster of the proxy itself says. As Envoy, for the first priority alone.
 */

export interface ZoneRules {
  /** Per cent of choices that look at zones. */
  readonly enabledPercent: number;
  /** With fewer healthy endpoints in all, zones do not matter. */
  readonly membersMin: number;
  /** All stays in the own zone where so many are healthy; undefined: there is no such number. */
  readonly ownMin: number | undefined;
  /** What is compared is weights of endpoints, not their number. */
  readonly countsWeights: boolean;
}

/** What one zone of a cluster has. */
export interface Zone {
  readonly name: string;
  readonly members: number;
  readonly healthy: readonly { readonly weight: number }[];
}

/** What is known of the proxies. */
export interface LocalZones {
  /** Where this one is. */
  readonly own: string;
  readonly zones: readonly Zone[];
  /** Per cent that may take requests. */
  readonly fitPercent: number;
}

/** Envoy's names of what is counted. */
export type ZoneEvent =
  | "lb_local_cluster_not_ok"
  | "lb_recalculate_zone_structures"
  | "lb_zone_cluster_too_small"
  | "lb_zone_no_capacity_left"
  | "lb_zone_routing_all_directly"
  | "lb_zone_routing_cross_zone"
  | "lb_zone_routing_sampled";

export interface ZoneOptions {
  readonly rules: ZoneRules;
  readonly local: LocalZones;
  readonly count: (event: ZoneEvent) => void;
}

/** Draws zones, by their place in the list it was made for; the own one is first, if it is there. */
export type ZoneChooser = (random: () => number) => number;

/** Of 10,000, as Envoy counts. */
const whole = 10_000;

/** `zones`: of the first priority, the own one first. Undefined: they do not matter. */
export function zoneChooser(
  zones: readonly Zone[],
  { rules, local, count }: ZoneOptions,
): ZoneChooser | undefined {
  count("lb_recalculate_zone_structures");
  if (zones.length < 2) return undefined;
  if (rules.ownMin === undefined && local.zones.length < 2) return undefined;
  if (!local.zones.some(({ name, members }) => name === local.own && members > 0)) {
    count("lb_local_cluster_not_ok");
    return undefined;
  }
  const healthy = zones.reduce((sum, zone) => sum + zone.healthy.length, 0);
  if (healthy < rules.membersMin) {
    count("lb_zone_cluster_too_small");
    return undefined;
  }
  const shares = sharesOf(zones, local.zones, rules);
  const [first] = zones;
  const own = first?.name === local.own ? shares[0] : undefined;
  const hasEnough = rules.ownMin !== undefined && (first?.healthy.length ?? 0) >= rules.ownMin;
  if (own !== undefined && ((own.upstream > 0 && own.upstream >= own.local) || hasEnough)) {
    return () => {
      count("lb_zone_routing_all_directly");
      return 0;
    };
  }
  const ownShare =
    own === undefined || own.local === 0 ? 0 : Math.floor((own.upstream * whole) / own.local);
  return residual(ownShare, roomIn(shares, own !== undefined), count);
}

/** `until`: upper ends of what each zone takes of the rest. */
function residual(
  ownShare: number,
  until: readonly number[],
  count: ZoneOptions["count"],
): ZoneChooser {
  const all = until.at(-1) ?? 0;
  return (random) => {
    if (Math.floor(random() * whole) < ownShare) {
      count("lb_zone_routing_sampled");
      return 0;
    }
    count("lb_zone_routing_cross_zone");
    if (all === 0) {
      count("lb_zone_no_capacity_left");
      return Math.floor(random() * until.length);
    }
    const point = Math.floor(random() * all);
    return until.findIndex((end) => point < end);
  };
}

interface Shares {
  readonly local: number;
  readonly upstream: number;
}

function sharesOf(
  zones: readonly Zone[],
  locals: readonly Zone[],
  { countsWeights }: ZoneRules,
): readonly Shares[] {
  const amount = ({ healthy }: Zone): number =>
    countsWeights ? healthy.reduce((sum, { weight }) => sum + weight, 0) : healthy.length;
  const total = (list: readonly Zone[]): number =>
    list.reduce((sum, each) => sum + amount(each), 0);
  const share = (part: number, all: number): number =>
    all === 0 ? 0 : Math.floor((whole * part) / all);
  const upstreamTotal = total(zones);
  const localTotal = total(locals);
  return zones.map((zone) => {
    if (zone.healthy.length === 0) return { local: 0, upstream: 0 };
    const same = locals.find(({ name }) => name === zone.name);
    return {
      local: same === undefined ? 0 : share(amount(same), localTotal),
      upstream: share(amount(zone), upstreamTotal),
    };
  });
}

/** The own zone has none: what it can take it has been given. */
function roomIn(shares: readonly Shares[], hasOwn: boolean): readonly number[] {
  let until = 0;
  return shares.map(({ local, upstream }, i) => {
    if (i > 0 || !hasOwn) until += Math.max(0, upstream - local);
    return until;
  });
}
