/**
 * Which parts of a proxy's configuration see the resources of a kind. The parts are made anew when what they
 * see has changed, and see nothing else (`mesh-scope.ts`): a kind without an entry here does not compile, and one
 * whose entry leaves out a part is not there for it.
 */
import type { ConfigKind, ResourceOfKind } from "../../model/config-resource.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape } from "../mesh-model.ts";
import { authorizationPoliciesFor, peerAuthenticationsFor } from "../mesh/security.ts";

type Resources<Kind extends ConfigKind> = readonly ResourceOfKind<Kind>[];

/** What of a kind is seen by each part that is made by itself. */
export interface KindReach<Kind extends ConfigKind> {
  /** Clusters and routes of callers, and all that a gateway opens. */
  readonly callers: (all: Resources<Kind>) => Resources<Kind>;
  /** Listeners of captured callers, whose HTTP routes are asked for by name. Of what callers see. */
  readonly listeners: (all: Resources<Kind>) => Resources<Kind>;
  /** What lets requests in to a workload. Of what callers see. */
  readonly inbound: (mesh: MeshShape, instance: WorkloadInstance) => Resources<Kind>;
}

const whole = <Resource>(all: Resource): Resource => all;
const none = (): readonly never[] => [];

const reaches: { readonly [Kind in ConfigKind]: KindReach<Kind> } = {
  Gateway: { callers: whole, listeners: none, inbound: none },
  VirtualService: {
    callers: whole,
    listeners: (all) => all.filter(routesConnections),
    inbound: none,
  },
  DestinationRule: {
    callers: whole,
    // Which rule holds for a host is found among all of them.
    listeners: (all) => (all.some(boundsConnections) ? all : []),
    inbound: none,
  },
  // Seen as the services that they make.
  ServiceEntry: { callers: none, listeners: none, inbound: none },
  PeerAuthentication: { callers: whole, listeners: none, inbound: peerAuthenticationsFor },
  AuthorizationPolicy: { callers: whole, listeners: none, inbound: authorizationPoliciesFor },
};

export function reachOf<Kind extends ConfigKind>(kind: Kind): KindReach<Kind> {
  return reaches[kind];
}

function routesConnections({ spec }: ResourceOfKind<"VirtualService">): boolean {
  return spec.tcp !== undefined || spec.tls !== undefined;
}

/** Whether a rule says something that stands in the listeners of its callers. */
function boundsConnections({ spec }: ResourceOfKind<"DestinationRule">): boolean {
  const policies = [spec.trafficPolicy, ...(spec.subsets ?? []).map((one) => one.trafficPolicy)];
  return policies
    .flatMap((policy) => [policy, ...(policy?.portLevelSettings ?? [])])
    .some((policy) => {
      const { idleTimeout, maxConnectionDuration } = policy?.connectionPool?.tcp ?? {};
      const isBySource = policy?.loadBalancer?.consistentHash?.useSourceIp === true;
      const hasTunnel = policy !== undefined && "tunnel" in policy;
      return (
        [idleTimeout, maxConnectionDuration].some((one) => one !== undefined) ||
        isBySource ||
        hasTunnel
      );
    });
}
