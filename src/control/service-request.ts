/**
 * Requests of the control plane's own to a service of the mesh, by its name: it stands beside the
 * mesh's name servers, not behind them. Names that are no service's are left to the machine.
 */
import type { WorkloadSnapshot } from "../model/workload.ts";
import type { RequestHttp } from "../net/http-request.ts";

/** Sends `http://prometheus.monitoring:9090/x` to a ready instance of that service. */
export function requestByService(
  request: RequestHttp,
  workloads: () => WorkloadSnapshot | undefined,
): RequestHttp {
  return (wanted) => {
    const url = new URL(wanted.url);
    const at = addressOf(url.hostname, Number(url.port || 80), workloads());
    if (at === undefined || url.protocol !== "http:") return request(wanted);
    const { host } = url;
    url.hostname = at.address.includes(":") ? `[${at.address}]` : at.address;
    url.port = String(at.port);
    return request({ ...wanted, url: url.href, headers: { host, ...wanted.headers } });
  };
}

function addressOf(
  hostname: string,
  port: number,
  workloads: WorkloadSnapshot | undefined,
): { readonly address: string; readonly port: number } | undefined {
  const [name, namespace = "default", ...rest] = hostname.split(".");
  if (!["", "svc", "svc.cluster.local"].includes(rest.join("."))) return undefined;
  const service = workloads?.services.find(
    (one) => one.name === name && one.namespace === namespace,
  );
  if (service === undefined) return undefined;
  const targetPort = service.ports.find((one) => one.port === port)?.targetPort ?? port;
  const instance = workloads?.instances.find(
    (one) =>
      one.state === "ready" &&
      one.namespace === namespace &&
      Object.entries(service.selector).every(([label, value]) => one.labels[label] === value),
  );
  const address = instance?.addresses[0];
  return address === undefined ? undefined : { address, port: targetPort };
}
