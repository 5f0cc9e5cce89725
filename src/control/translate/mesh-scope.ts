/**
 * Cuts the mesh down to what each part of a proxy's configuration is made from, and says what was
 * cut out by a key: while the key is the same, so is the part. Resources of configuration are
 * immutable, so each counts by its identity; what runs arrives anew with every message and counts by
 * its content.
 */
import type { LabelSelector } from "../../model/matching.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import { configKinds } from "../../model/kinds.ts";
import type { MeshEndpoint, MeshModel, MeshShape, ServiceShape } from "../mesh-model.ts";
import { resourcesOfEach } from "../mesh-model.ts";
import { denyingFor } from "../mesh/security.ts";
import { reachOf } from "./kind-reach.ts";
import type {
  Capture,
  ClientView,
  InboundView,
  OwnProxy,
  ProxyView,
  ServiceName,
} from "./proxy-view.ts";
import { captureOf, hasIpv6, viewOf } from "./proxy-view.ts";

export interface Keyed<View> {
  readonly key: string;
  readonly view: () => View;
}

/** What may be seen of one model. */
export interface MeshScope {
  readonly model: MeshModel;
  /** For clusters, the routes of a caller and the names it may resolve. */
  client(proxy: WorkloadInstance): Keyed<ClientView>;
  /** For outbound listeners of a workload, and for what a gateway opens. */
  outbound(proxy: WorkloadInstance): Keyed<ProxyView>;
  inbound(proxy: WorkloadInstance): Keyed<InboundView>;
}

export class MeshScopes {
  readonly #ids = new WeakMap<object, number>();
  #lastId = 0;
  readonly #shapes = { whole: new Numbered(), listeners: new Numbered() };

  scopeOf(model: MeshModel): MeshScope {
    const whole = shapeOf(model);
    // HTTP routes are asked for by name: a listener changes only with routes of connections.
    const resources = resourcesOfEach((kind) => reachOf(kind).listeners(whole.resources[kind]));
    const listeners = { ...whole, resources, denying: [] };
    const wholeId = this.#shapes.whole.number(this.#keyOf(whole));
    const listenersId = this.#shapes.listeners.number(this.#keyOf(listeners));
    const asked = labelsAskedFor(whole);
    const services = new PortServices(model);
    return {
      model,
      client: (instance) => clientView(whole, wholeId, { instance, asked }),
      outbound: (instance) => {
        const at = placeOf(instance);
        const proxy = ownProxy(instance);
        // A gateway's routes are its own; without capture so are those of its local ports.
        const isWhole = at.capture !== "transparent";
        const [shape, id] = isWhole ? [whole, wholeId] : [listeners, listenersId];
        return { key: `${id} ${JSON.stringify(proxy)}`, view: () => viewOf(shape, proxy, at) };
      },
      inbound: (instance) => {
        const shape = inboundShape(whole, instance);
        const proxy = ownProxy(instance);
        const portServices = services.of(instance);
        const key = JSON.stringify([proxy, [...portServices]]);
        return {
          key: `${this.#keyOf(shape)} ${key}`,
          view: () => ({ ...viewOf(shape, proxy, placeOf(instance)), portServices }),
        };
      },
    };
  }

  #keyOf(shape: MeshShape): string {
    const resources = configKinds.map((kind) =>
      shape.resources[kind].map((resource) => this.#idOf(resource)),
    );
    const services = [...shape.services.values()].map((service) => this.#serviceKey(service));
    return JSON.stringify([shape.settings, shape.domain, shape.denying, resources, services]);
  }

  #serviceKey(service: ServiceShape): unknown {
    const { entry, dnsEndpoints, ...plain } = service;
    const endpoints = dnsEndpoints.map(endpointKey);
    return { ...plain, endpoints, entry: entry === undefined ? 0 : this.#idOf(entry) };
  }

  #idOf(resource: object): number {
    const known = this.#ids.get(resource);
    if (known !== undefined) return known;
    this.#lastId += 1;
    this.#ids.set(resource, this.#lastId);
    return this.#lastId;
  }
}

/** A short name for a long key; the same while the key stays the same. */
class Numbered {
  #key = "";
  #number = 0;

  number(key: string): number {
    if (key !== this.#key) {
      this.#key = key;
      this.#number += 1;
    }
    return this.#number;
  }
}

/** Copies field by field: what is not named here is in no key, and not in scope. */
function shapeOf(model: MeshModel): MeshShape {
  const services = [...model.services.values()].map((service): ServiceShape => {
    const { hostname, namespace, name, addresses, ports, resolution, isExternal } = service;
    const { exportTo, subjectAltNames, accounts, dnsEndpoints, entry, isAllocated } = service;
    const names = { hostname, namespace, name, addresses, isAllocated };
    const place = { ...names, ports, resolution, isExternal };
    return { ...place, exportTo, subjectAltNames, accounts, dnsEndpoints, entry };
  });
  return {
    settings: model.settings,
    domain: model.domain,
    services: new Map(services.map((service) => [service.hostname, service])),
    resources: resourcesOfEach((kind) => reachOf(kind).callers(model.resources[kind])),
    denying: model.denying,
  };
}

/** Whom a workload lets in does not depend on whom it may call. */
function inboundShape(whole: MeshShape, instance: WorkloadInstance): MeshShape {
  const collector = whole.services.get(whole.settings.tracing?.service ?? "");
  return {
    ...whole,
    resources: resourcesOfEach((kind) => reachOf(kind).inbound(whole, instance)),
    services: new Map(collector === undefined ? [] : [[collector.hostname, collector]]),
    denying: denyingFor(whole, instance),
  };
}

interface Client {
  readonly instance: WorkloadInstance;
  readonly asked: ReadonlySet<string>;
}

function clientView(shape: MeshShape, id: number, { instance, asked }: Client): Keyed<ClientView> {
  const { namespace, dataPlane } = instance;
  const labels = Object.fromEntries(
    Object.entries(instance.labels)
      .filter(([name]) => asked.has(name))
      .toSorted(([left], [right]) => (left < right ? -1 : 1)),
  );
  const proxy = { namespace, dataPlane, labels };
  const at = placeOf(instance);
  return {
    key: `${id} ${JSON.stringify([proxy, at])}`,
    view: () => viewOf(shape, proxy, at),
  };
}

function placeOf(instance: WorkloadInstance): {
  readonly capture: Capture;
  readonly hasIpv6: boolean;
} {
  return { capture: captureOf(instance), hasIpv6: hasIpv6(instance) };
}

function ownProxy(instance: WorkloadInstance): OwnProxy {
  const { name, workload, namespace, serviceAccount, labels, role, addresses, ports } = instance;
  const { capture, localDestinations, dataPlane, sidecarPorts } = instance;
  const identity = { name, workload, namespace, serviceAccount, labels, role };
  return { ...identity, addresses, ports, capture, localDestinations, dataPlane, sidecarPorts };
}

/** Labels by which rules tell callers apart. */
function labelsAskedFor({ resources }: MeshShape): ReadonlySet<string> {
  const selectors: (LabelSelector | undefined)[] = resources.DestinationRule.map(
    ({ spec }) => spec.workloadSelector,
  );
  for (const { spec } of resources.VirtualService) {
    for (const { match } of [...(spec.http ?? []), ...(spec.tls ?? []), ...(spec.tcp ?? [])]) {
      selectors.push(...(match ?? []).map(({ sourceLabels }) => sourceLabels));
    }
  }
  return new Set(selectors.flatMap((selector) => Object.keys(selector ?? {})));
}

function endpointKey({ targets, instance, ...plain }: MeshEndpoint): unknown {
  return { ...plain, targets: [...targets], instance: instance && ownProxy(instance) };
}

/** Which service each port of an instance belongs to: the first, by hostname, that leads there. */
class PortServices {
  readonly #byInstance = new Map<string, Map<number, ServiceName>>();

  constructor(model: MeshModel) {
    for (const { hostname, name, namespace, ports, instances } of model.services.values()) {
      for (const instance of instances) {
        const key = `${instance.namespace}/${instance.name}`;
        const services = this.#byInstance.get(key) ?? new Map<number, ServiceName>();
        this.#byInstance.set(key, services);
        for (const { targetPort } of ports) {
          if (!services.has(targetPort)) services.set(targetPort, { hostname, name, namespace });
        }
      }
    }
  }

  of({ namespace, name }: WorkloadInstance): ReadonlyMap<number, ServiceName> {
    return this.#byInstance.get(`${namespace}/${name}`) ?? noServices;
  }
}

const noServices: ReadonlyMap<number, ServiceName> = new Map();
