/**
 * A proxy's own admin interface, asked through the Unix socket of its sidecar: a fixed list of paths
 * in, what the proxy says out. Nothing else of that interface can be reached from here.
 */
import { HeddleError, messageOf } from "../base/error.ts";
import type { ControlPlane } from "../control/control-view.ts";
import type { HttpResponse, RequestHttp } from "../net/http-request.ts";

export interface AdminRequest {
  /** `<instance>.<namespace>`. */
  readonly proxy: string;
  readonly view: string;
  /** As received, without the question mark. */
  readonly query: string;
  readonly isChange: boolean;
}

const defaultQueries: ReadonlyMap<string, string> = new Map([
  ["config_dump", "include_eds"],
  ["clusters", "format=json"],
  ["listeners", "format=json"],
  ["stats", ""],
  ["metrics", ""],
  ["certs", ""],
  ["logging", ""],
  ["memory", ""],
  ["server_info", ""],
  ["tap", ""],
]);

const queryPattern = /^[\w.=&%+*|^$()-]{0,512}$/;
/** For a whole dump, of a proxy on a busy machine; less than commands wait for us (15 s), so that they hear which proxy it was. */
const timeoutMs = 12_000;
const responseBytesMax = 128 * 1024 * 1024;

export async function askProxyAdmin(
  controlPlane: ControlPlane,
  request: RequestHttp,
  { proxy, view, query, isChange }: AdminRequest,
): Promise<HttpResponse> {
  const defaultQuery = defaultQueries.get(view);
  if (defaultQuery === undefined) throw notFound(`a proxy has no view ${view}`);
  if (!queryPattern.test(query))
    throw new HeddleError("console.bad-request", "unexpected characters in the query");
  const instance = controlPlane
    .workloads()
    ?.instances.find((one) => `${one.name}.${one.namespace}` === proxy);
  if (instance === undefined) throw notFound(`there is no proxy ${proxy}`);
  const used = query === "" ? defaultQuery : query;
  try {
    return await request({
      url: `http://localhost/${view}${used === "" ? "" : `?${used}`}`,
      // Envoy lists its loggers to a POST only; without parameters it changes nothing.
      method: view === "logging" ? "POST" : "GET",
      socketPath: instance.adminSocket,
      timeoutMs,
      responseBytesMax,
    });
  } catch (error) {
    const verb = isChange ? "changed" : "read";
    throw new HeddleError(
      "console.proxy-unreachable",
      `the state of ${proxy} cannot be ${verb}: its sidecar does not answer (${messageOf(error)})`,
      { cause: error },
    );
  }
}

function notFound(message: string): HeddleError {
  return new HeddleError("console.not-found", message);
}
