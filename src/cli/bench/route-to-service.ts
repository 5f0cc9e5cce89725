/** Where the requests of `heddle bench` go: to a service through two sidecars, and to its replicas directly. */
import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { ServiceSummary, WorkloadSummary } from "../../console/api.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import type { MeshApi } from "../mesh-api.ts";

export interface Replica {
  /** `cart-0.default`. */
  readonly instance: string;
  /** Of the application itself, as seen beside it. */
  readonly application: SocketAddress;
}

export interface ServiceRoute {
  readonly service: string;
  readonly port: number;
  /** Who asks, through its sidecar. */
  readonly from: string;
  readonly dataPlane: "heddle" | "envoy";
  readonly isExplicit: boolean;
  /** Where the caller's requests go, so that its sidecar gets them. */
  readonly target: SocketAddress;
  readonly host: string;
  readonly replicas: readonly Replica[];
}

export interface AskedService {
  readonly service: string;
  readonly port: number | undefined;
  readonly from: string | undefined;
}

const httpProtocols: ReadonlySet<string> = new Set(["http", "http1", "http2", "grpc", "grpc-web"]);

/** Throws a sentence where there is no such service, or nothing that could be measured. */
export async function routeToService(api: MeshApi, asked: AskedService): Promise<ServiceRoute> {
  const services = await api.get<ServiceSummary[]>("/api/services?window=60s");
  const service = services.find((one) => isNamed(one, asked.service));
  if (service === undefined) {
    throw notFound(`there is no service ${asked.service}`, services.map(fullName));
  }
  const { port } = portOf(service, asked.port);
  const workloads = await api.get<WorkloadSummary[]>("/api/workloads");
  const caller = callerOf(workloads, service, asked.from);
  const name = `outbound|${port}||${service.hostname}`;
  const endpoints = await endpointsOf(api, nameOf(caller), (cluster) => cluster === name);
  const isExplicit = caller.capture === "explicit";
  const replicas = await Promise.all(
    endpoints.map(
      async ([, endpoint]) => await replicaOf(api, { workloads, endpoint, isExplicit }),
    ),
  );
  if (replicas.length === 0) {
    throw notFound(`service ${fullName(service)} has no endpoint on port ${port}`, []);
  }
  const [vip = ""] = service.addresses;
  return {
    service: fullName(service),
    port,
    from: nameOf(caller),
    dataPlane: caller.dataPlane,
    isExplicit,
    host: port === 80 ? service.hostname : `${service.hostname}:${port}`,
    target: isExplicit
      ? { address: "127.0.0.1", port: caller.sidecarPorts.outbound }
      : { address: vip, port },
    replicas,
  };
}

function portOf(
  service: ServiceSummary,
  wanted: number | undefined,
): ServiceSummary["ports"][number] {
  const { ports } = service;
  const isHttp = ({ protocol }: { readonly protocol: string }): boolean =>
    httpProtocols.has(protocol.toLowerCase());
  const found =
    wanted === undefined ? ports.find(isHttp) : ports.find((one) => one.port === wanted);
  const all = ports.map(({ port, protocol }) => `${port} (${protocol})`);
  if (found === undefined) {
    const what = wanted === undefined ? "no HTTP port" : `no port ${wanted}`;
    throw notFound(`service ${fullName(service)} has ${what}`, all);
  }
  if (!isHttp(found)) {
    throw notFound(`port ${found.port} of ${fullName(service)} does not speak HTTP`, all);
  }
  return found;
}

/** Whom the operator names, or the first that is ready: none of the service's own where there are others. */
function callerOf(
  workloads: readonly WorkloadSummary[],
  service: ServiceSummary,
  wanted: string | undefined,
): WorkloadSummary {
  const ready = workloads.filter(({ role, state }) => role === "workload" && state === "ready");
  if (wanted === undefined) {
    const other = ready.find((one) => one.workload !== service.name);
    const any = other ?? ready[0];
    if (any !== undefined) return any;
    throw notFound("no workload is ready to send requests from", []);
  }
  const found = ready.find(({ workload, instance, namespace }) =>
    [workload, instance].some(
      (one) =>
        wanted === one || wanted === `${one}.${namespace}` || wanted === `${namespace}/${one}`,
    ),
  );
  if (found !== undefined) return found;
  throw notFound(`no workload ${wanted} is ready to send requests from`, ready.map(nameOf));
}

interface ClustersAnswer {
  readonly cluster_statuses?: readonly {
    readonly name: string;
    readonly host_statuses?: readonly {
      readonly address?: {
        readonly socket_address?: { readonly address: string; readonly port_value: number };
      };
    }[];
  }[];
}

type Endpoint = readonly [cluster: string, address: SocketAddress];

async function endpointsOf(
  api: MeshApi,
  proxy: string,
  isWanted: (cluster: string) => boolean,
): Promise<readonly Endpoint[]> {
  const path = `/api/proxies/${encodeURIComponent(proxy)}/clusters?format=json`;
  const { cluster_statuses: clusters = [] } = await api.get<ClustersAnswer>(path);
  return clusters
    .filter(({ name }) => isWanted(name))
    .flatMap(({ name, host_statuses: hosts = [] }) =>
      hosts.flatMap(({ address }): Endpoint[] => {
        const socket = address?.socket_address;
        return socket === undefined
          ? []
          : [[name, { address: socket.address, port: socket.port_value }]];
      }),
    );
}

interface FoundEndpoint {
  readonly workloads: readonly WorkloadSummary[];
  readonly endpoint: SocketAddress;
  readonly isExplicit: boolean;
}

/** The application behind an endpoint, by what its own sidecar knows of it. */
async function replicaOf(api: MeshApi, found: FoundEndpoint): Promise<Replica> {
  const { workloads, endpoint, isExplicit } = found;
  const owner = isExplicit
    ? await listenerAt(api, workloads, endpoint)
    : workloads.find(({ addresses }) => addresses.includes(endpoint.address));
  const shown = formatSocketAddress(endpoint);
  if (owner === undefined) throw notFound(`endpoint ${shown} belongs to no workload here`, []);
  const all = await endpointsOf(api, nameOf(owner), (name) => name.startsWith("inbound|"));
  const named = all.find(([name]) => name.startsWith(`inbound|${endpoint.port}|`));
  const [, application] = named ?? (all.length === 1 ? (all[0] ?? []) : []);
  if (application === undefined) {
    throw notFound(`the application behind ${shown} cannot be told from others`, []);
  }
  return { instance: nameOf(owner), application };
}

interface ListenersAnswer {
  readonly listener_statuses?: readonly {
    readonly local_address?: {
      readonly socket_address?: { readonly address: string; readonly port_value: number };
    };
  }[];
}

/** All share one loopback: whose sidecar listens there? */
async function listenerAt(
  api: MeshApi,
  workloads: readonly WorkloadSummary[],
  { port }: SocketAddress,
): Promise<WorkloadSummary | undefined> {
  const found = await Promise.all(
    workloads.map(async (one) => {
      const path = `/api/proxies/${encodeURIComponent(nameOf(one))}/listeners?format=json`;
      const { listener_statuses: listeners = [] } = await api.get<ListenersAnswer>(path);
      return listeners.some((at) => at.local_address?.socket_address?.port_value === port);
    }),
  );
  return workloads[found.indexOf(true)];
}

function nameOf({ instance, namespace }: WorkloadSummary): string {
  return `${instance}.${namespace}`;
}

function fullName({ name, namespace }: ServiceSummary): string {
  return `${name}.${namespace}`;
}

function isNamed({ name, namespace, hostname }: ServiceSummary, asked: string): boolean {
  return [name, `${name}.${namespace}`, `${namespace}/${name}`, hostname].includes(asked);
}

function notFound(message: string, known: readonly string[]): CommandFailure {
  const rest = known.length === 0 ? "" : `; there are ${known.join(", ")}`;
  return new CommandFailure(exitCodes.findings, `${message}${rest}`);
}
