/**
 * A mesh written as YAML for tests of translation: the first document says what runs and which proxy
 * is looked at, the others are Istio's. Shared by golden tests and by those that ask real data planes.
 */
import type { Problem } from "../../src/base/problem.ts";
import type { MeshModel } from "../../src/control/mesh-model.ts";
import { buildMeshModel } from "../../src/control/mesh.ts";
import { parseDocuments } from "../../src/model/documents.ts";
import { parseMeshConfig } from "../../src/model/mesh-config.ts";
import type {
  PortProtocol,
  RelayPort,
  ServiceDeclaration,
  WorkloadInstance,
} from "../../src/model/workload.ts";
import { parseYaml, plainValue, yamlField } from "../../src/model/yaml.ts";

export interface MeshCase {
  readonly model: MeshModel;
  readonly proxy: WorkloadInstance;
  readonly problems: readonly Problem[];
  /** What to look at: `cluster`, `listener virtualInbound`, `route 80`; everything when empty. */
  readonly show: readonly string[];
}

interface CasePort {
  readonly port: number;
  readonly targetPort: number;
  readonly protocol: PortProtocol;
  readonly relay?: RelayPort;
}

interface CaseWorkload {
  readonly name: string;
  readonly namespace?: string;
  readonly service?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly replicas?: number;
  readonly ports?: readonly CasePort[];
  readonly role?: "workload" | "gateway";
  readonly isReady?: boolean;
}

interface CaseHead {
  readonly proxy: string;
  readonly show?: readonly string[];
  readonly dataPlane?: "heddle" | "envoy";
  readonly capture?: "transparent" | "explicit";
  readonly workloads: readonly CaseWorkload[];
}

export function parseMeshCase(
  text: string,
  file: string,
  overrides: Partial<CaseHead> = {},
): MeshCase {
  const first = parseYaml(text, file).documents[0];
  const caseNode = yamlField(first?.root, "case");
  if (first === undefined || caseNode === undefined) throw new Error(`${file} begins with no case`);
  // A test's own file: its shape is checked by what is made from it.
  const head: CaseHead = { ...(plainValue(caseNode) as CaseHead), ...overrides };
  const config = parseMeshConfig(yamlField(caseNode, "meshConfig"));
  const rest = text.slice(first.text.length);
  const parsed = parseDocuments(rest, file);
  const { services, instances } = workloadsOf(head);
  const { model, problems } = buildMeshModel({
    resources: parsed.resources,
    broken: parsed.broken,
    workloads: { revision: 1, services, instances },
    settings: config.settings,
  });
  const proxy = model.instances.find((one) => `${one.name}.${one.namespace}` === head.proxy);
  if (proxy === undefined) throw new Error(`${file}: no instance ${head.proxy}`);
  return {
    model,
    proxy,
    problems: [...config.problems, ...parsed.problems, ...problems],
    show: head.show ?? [],
  };
}

/** Addresses and ports are counted up, so that a case always gives the same mesh. */
function workloadsOf(head: CaseHead): {
  readonly services: ServiceDeclaration[];
  readonly instances: WorkloadInstance[];
} {
  const services = new Map<string, ServiceDeclaration>();
  const instances: WorkloadInstance[] = [];
  const isExplicit = head.capture === "explicit";
  for (const workload of head.workloads) {
    const { name, namespace = "default", service = name, ports = [] } = workload;
    const labels = { app: service, ...workload.labels };
    if (
      workload.role !== "gateway" &&
      ports.length > 0 &&
      !services.has(`${namespace}/${service}`)
    ) {
      services.set(`${namespace}/${service}`, {
        name: service,
        namespace,
        addresses: isExplicit ? [] : [`198.19.0.${services.size + 1}`],
        ports: ports.map((port) => ({ ...port, name: `${port.protocol}-${port.port}` })),
        selector: { app: service },
      });
    }
    for (let replica = 0; replica < (workload.replicas ?? 1); replica++) {
      instances.push(instanceOf(head, { workload, labels, replica, index: instances.length }));
    }
  }
  return { services: [...services.values()], instances };
}

function instanceOf(
  head: CaseHead,
  at: {
    readonly workload: CaseWorkload;
    readonly labels: Readonly<Record<string, string>>;
    readonly replica: number;
    readonly index: number;
  },
): WorkloadInstance {
  const { workload, labels, replica, index } = at;
  const { namespace = "default", service = workload.name, role = "workload" } = workload;
  const isExplicit = head.capture === "explicit";
  const address = isExplicit ? "127.0.0.1" : `198.18.0.${index + 2}`;
  const ports = (workload.ports ?? []).map((port, portIndex) => {
    const own = 20_000 + index * 100 + portIndex;
    return {
      port: role === "gateway" ? port.port : port.targetPort,
      protocol: port.protocol,
      appAddress: "127.0.0.1",
      ...(isExplicit ? { appPort: own + 50 } : {}),
      endpointAddress: address,
      endpointPort: isExplicit ? own : role === "gateway" ? port.port : port.targetPort,
      ...(port.relay === undefined ? {} : { relay: port.relay }),
    };
  });
  return {
    name: `${workload.name}-${replica}`,
    workload: workload.name,
    namespace,
    serviceAccount: service,
    labels,
    role,
    addresses: [address],
    ports,
    capture: isExplicit ? "explicit" : role === "gateway" ? "gateway" : "transparent",
    localDestinations: [],
    state: workload.isReady === false ? "starting" : "ready",
    tokenSha256: "",
    dataPlane: head.dataPlane ?? "envoy",
    adminSocket: "",
    metricsUrl: "",
    restarts: 0,
    sidecarPorts: { outbound: isExplicit ? 20_090 + index * 100 : 15_001, inbound: 15_006 },
  };
}
