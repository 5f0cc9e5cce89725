/** The paths of `api.ts`, each answered from a view or handed to the control plane. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { HeddleError } from "../base/error.ts";
import type { ControlPlane, ResourceFilter } from "../control/control-view.ts";
import { logPathsOf } from "../local/log-paths.ts";
import type { RequestHttp } from "../net/http-request.ts";
import { answerPrometheus, type PrometheusApi } from "../store/prometheus-api.ts";
import type { EventHub } from "./events.ts";
import { continueLog, readLogTail, startOfLog } from "./log-tail.ts";
import { askProxyAdmin } from "./proxy-admin.ts";
import {
  parseApplyRequest,
  parseDeleteRequest,
  parseLineCount,
  parseLogPosition,
  parseLogStream,
  parseWaitRequest,
  parseWindow,
} from "./request-input.ts";
import type { Views } from "./views.ts";

export interface RouteOptions {
  readonly views: Views;
  readonly controlPlane: ControlPlane;
  readonly events: EventHub;
  readonly prometheus: PrometheusApi;
  readonly request: RequestHttp;
  readonly stateDir: string;
}

const graphWindowMs = 60_000;
const chartWindowMs = 900_000;

type Query = Readonly<Record<string, string | undefined>>;

export function registerRoutes(app: FastifyInstance, options: RouteOptions): void {
  registerReads(app, options);
  registerConfig(app, options);
  registerProxies(app, options);
  registerEvents(app, options);
  registerPrometheus(app, options);
}

function registerReads(
  app: FastifyInstance,
  { views, stateDir, controlPlane }: RouteOptions,
): void {
  app.get("/api/status", (request) => views.status(windowOf(request, graphWindowMs)));
  app.get("/api/graph", (request) => views.graph(windowOf(request, graphWindowMs)));
  app.get("/api/services", (request) => views.services(windowOf(request, graphWindowMs)));
  app.get("/api/services/:namespace/:name", (request) =>
    views.service(
      parameter(request, "namespace"),
      parameter(request, "name"),
      windowOf(request, chartWindowMs),
    ),
  );
  app.get("/api/workloads", () => views.workloads());
  registerLogs(app, { stateDir, controlPlane });
}

function registerLogs(
  app: FastifyInstance,
  { stateDir, controlPlane }: Pick<RouteOptions, "stateDir" | "controlPlane">,
): void {
  const fileOf = (request: FastifyRequest): string => {
    const wanted = parameter(request, "workload");
    const stream = parseLogStream(queryOf(request)["stream"]);
    const instance = controlPlane
      .workloads()
      ?.instances.find((one) => `${one.name}.${one.namespace}` === wanted || one.name === wanted);
    // Only names the mesh knows become a path.
    if (instance === undefined)
      throw new HeddleError("console.not-found", `there is no instance ${wanted}`);
    const paths = logPathsOf(stateDir, instance.namespace, instance.name);
    return stream === "proxy" ? paths.proxy : paths.application;
  };
  app.get("/api/logs/:workload", async (request, reply) => {
    const text = await readLogTail(fileOf(request), parseLineCount(queryOf(request)["lines"]));
    return reply.type("text/plain; charset=utf-8").send(text);
  });
  app.get("/api/logs/:workload/follow", (request) => {
    const { position, lines } = queryOf(request);
    return position === undefined
      ? startOfLog(fileOf(request), parseLineCount(lines))
      : continueLog(fileOf(request), parseLogPosition(position));
  });
}

function registerConfig(app: FastifyInstance, options: RouteOptions): void {
  const { views, controlPlane } = options;
  app.get("/api/config", (request) => views.config(filterOf(request)));
  app.post("/api/config/validate", (request) => {
    const { yaml, dryRun: _, ...rest } = parseApplyRequest(request.body);
    return controlPlane.apply(yaml, { ...rest, dryRun: true });
  });
  app.post("/api/config/apply", (request) => {
    const { yaml, dryRun, ...rest } = parseApplyRequest(request.body);
    return controlPlane.apply(yaml, { ...rest, dryRun: dryRun === true });
  });
  app.post("/api/config/delete", (request) => {
    return controlPlane.remove(parseDeleteRequest(request.body).ref);
  });
  app.post("/api/config/wait", (request) => {
    const { refs, ...rest } = parseWaitRequest(request.body);
    return controlPlane.waitFor(refs, rest);
  });
}

function registerProxies(app: FastifyInstance, options: RouteOptions): void {
  const { controlPlane } = options;
  const relay = async (
    request: FastifyRequest,
    reply: FastifyReply,
    isChange: boolean,
  ): Promise<FastifyReply> => {
    const answer = await askProxyAdmin(controlPlane, options.request, {
      proxy: parameter(request, "proxy"),
      view: parameter(request, "view"),
      query: isChange || parameter(request, "view") !== "logging" ? rawQuery(request) : "",
      isChange,
    });
    // Never as a page: what a proxy says may hold what its peers sent.
    const isJson = answer.contentType.includes("json") || /^\s*\{/.test(answer.text);
    return reply
      .code(answer.status === 200 ? 200 : answer.status < 500 ? 400 : 502)
      .type(isJson ? "application/json" : "text/plain; charset=utf-8")
      .send(answer.text);
  };
  app.get("/api/proxies", () => controlPlane.proxies());
  app.get("/api/proxies/:proxy/:view", (request, reply) => relay(request, reply, false));
  app.post("/api/proxies/:proxy/:view", (request, reply) => {
    if (parameter(request, "view") !== "logging") {
      throw new HeddleError("console.not-found", "only logging can be changed");
    }
    return relay(request, reply, true);
  });
}

function registerEvents(app: FastifyInstance, { events }: RouteOptions): void {
  app.get("/api/events", (request, reply) => {
    const windowMs = windowOf(request, graphWindowMs);
    if (events.isFull) {
      throw new HeddleError("console.busy", "too many pages are open; close one");
    }
    reply.raw.setHeader("content-type", "text/event-stream");
    reply.raw.setHeader("cache-control", "no-store");
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(name, value);
    }
    reply.hijack();
    events.add(reply.raw, windowMs);
  });
}

function registerPrometheus(app: FastifyInstance, { prometheus }: RouteOptions): void {
  const answer = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const parameters = new URLSearchParams(rawQuery(request));
    if (typeof request.body === "string") {
      for (const [name, value] of new URLSearchParams(request.body)) parameters.append(name, value);
    }
    const path = request.url.split("?", 1)[0]?.replace("/api/v1/", "") ?? "";
    const found = await answerPrometheus(prometheus, path, parameters);
    if (found === undefined) throw new HeddleError("console.not-found", `${path} is not served`);
    return reply.code(found.status).send(found.body);
  };
  app.get("/api/v1/*", answer);
  app.post("/api/v1/*", answer);
}

function windowOf(request: FastifyRequest, defaultMs: number): number {
  return parseWindow(queryOf(request)["window"], defaultMs);
}

function filterOf(request: FastifyRequest): ResourceFilter {
  const { kind, namespace, name } = queryOf(request);
  return {
    ...(kind === undefined || kind === "" ? {} : { kind }),
    ...(namespace === undefined || namespace === "" ? {} : { namespace }),
    ...(name === undefined || name === "" ? {} : { name }),
  };
}

/** The last of equal names wins. */
function queryOf(request: FastifyRequest): Query {
  return Object.fromEntries(new URLSearchParams(rawQuery(request)));
}

function rawQuery(request: FastifyRequest): string {
  const at = request.url.indexOf("?");
  return at === -1 ? "" : request.url.slice(at + 1);
}

function parameter(request: FastifyRequest, name: string): string {
  const { params } = request;
  const value =
    typeof params === "object" && params !== null ? Reflect.get(params, name) : undefined;
  return typeof value === "string" ? value : "";
}
