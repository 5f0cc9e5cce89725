/**
 * The console: one HTTP API for the browser application and the command line, live events, the
 * application's files, and Prometheus's query API over the mesh's metrics. It asks the control plane
 * and the metrics; nothing in the data path waits for it.
 */
import fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import type { IncomingMessage } from "node:http";
import type { Clock } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { ControlPlane } from "../control/control-view.ts";
import { type HttpListener, listenHttp } from "../net/http-listener.ts";
import { requestHttp, type RequestHttp } from "../net/http-request.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ErrorAnswer } from "./api.ts";
import { createEventHub } from "./events.ts";
import { registerRoutes } from "./routes.ts";
import { createTokenGuard, refuseOrigin, responseHeaders } from "./security.ts";
import { notBuiltPage, openUiFiles } from "./ui-files.ts";
import { type ConsoleMetrics, createViews } from "./views.ts";

export interface ConsoleOptions {
  readonly mesh: string;
  readonly version: string;
  /** For browsers. */
  readonly listen: { readonly fd: number } | SocketAddress;
  /** Asked of whoever comes over TCP, for everything but the application's files. */
  readonly token: string;
  /** For the owner's command line: made with mode 0600; absent, there is none. */
  readonly apiSocket?: string;
  readonly controlPlane: ControlPlane;
  readonly metrics: ConsoleMetrics;
  /** Holds `logs/`. */
  readonly stateDir: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Folder of the built browser application; it may appear later. */
  readonly ui: string;
  /** What this way of running cannot enforce, a sentence each. */
  readonly limitations?: () => readonly string[];
  /** Host names, besides localhost, under which a browser may open the console. */
  readonly allowedHosts?: readonly string[];
  readonly request?: RequestHttp;
}

export interface Console {
  readonly address: SocketAddress | undefined;
  close(): Promise<void>;
}

const bodyBytesMax = 8 * 1024 * 1024;
/** Also where the figures come seldom: what runs and what is wrong change in between. */
const liveEveryMs = 2000;
const filesRoute = "/*";

/** Throws `net.listen-failed`. */
export async function startConsole(options: ConsoleOptions): Promise<Console> {
  const { controlPlane, metrics, clock, log } = options;
  const listeners: HttpListener[] = [];
  const views = createViews({
    ...options,
    limitations: options.limitations ?? (() => []),
    consoleAddress: () => listeners[0]?.address,
  });
  const events = createEventHub({
    views,
    controlPlane,
    clock,
    log,
    intervalMs: Math.min(metrics.intervalMs, liveEveryMs),
  });
  const fromSocket = new WeakSet<IncomingMessage>();
  const app = createApp(options, fromSocket);
  registerRoutes(app, {
    views,
    controlPlane,
    events,
    request: options.request ?? requestHttp,
    stateDir: options.stateDir,
    prometheus: {
      get source() {
        return metrics.source;
      },
      get retentionMs() {
        return metrics.retentionMs;
      },
      get scrapeIntervalMs() {
        return metrics.intervalMs;
      },
      version: options.version,
      startedAtMs: clock.nowMs(),
      nowMs: () => clock.nowMs(),
    },
  });
  registerUi(app, options.ui);
  await app.ready();
  const browser = await listenHttp(options.listen, (request, response) =>
    app.routing(request, response),
  );
  listeners.push(browser);
  if (options.apiSocket !== undefined) {
    const socket = await listenHttp({ socketPath: options.apiSocket }, (request, response) => {
      fromSocket.add(request);
      app.routing(request, response);
    });
    listeners.push(socket);
  }
  return {
    address: browser.address,
    async close() {
      events.close();
      await Promise.all(listeners.map((listener) => listener.close()));
      await app.close();
    },
  };
}

function createApp(options: ConsoleOptions, fromSocket: WeakSet<IncomingMessage>): FastifyInstance {
  const allowedHosts = new Set(options.allowedHosts?.map((host) => host.toLowerCase()));
  const guard = createTokenGuard(options.token);
  const app = fastify({
    bodyLimit: bodyBytesMax,
    logger: false,
    routerOptions: { maxParamLength: 512 },
  });
  app.removeContentTypeParser("text/plain");
  app.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string" },
    (_request, body, done) => done(null, body),
  );
  app.addHook("onRequest", async (request, reply) => {
    reply.headers(responseHeaders);
    // By the route that answers, not by how the path was written: `/%61pi/status` finds it too.
    const isFile = request.routeOptions.url === filesRoute;
    if (!isFile) reply.header("cache-control", "no-store");
    if (fromSocket.has(request.raw)) return;
    const refusal = refuseOrigin(originOf(request), allowedHosts);
    if (refusal !== undefined) throw new HeddleError("console.forbidden", refusal);
    if (isFile || guard.accepts(request.headers.authorization)) return;
    reply.header("www-authenticate", "Bearer");
    throw new HeddleError(
      "console.no-token",
      "the console's token is needed; 'heddle status' prints the address that carries it",
    );
  });
  app.setNotFoundHandler((request) => {
    throw new HeddleError("console.not-found", `there is nothing at ${request.url.slice(0, 200)}`);
  });
  app.setErrorHandler((error, request, reply) => {
    const answer = errorAnswer(error);
    if (answer.status === 500) {
      options.log.error("console request failed", { path: request.url, reason: messageOf(error) });
    }
    return reply.code(answer.status).send(answer.body);
  });
  return app;
}

function registerUi(app: FastifyInstance, folder: string): void {
  const files = openUiFiles(folder);
  app.get(filesRoute, async (request, reply) => {
    const path = request.url.split("?", 1)[0] ?? "/";
    const file = await files.get(path);
    if (file === undefined) {
      if (path === "/") return reply.type("text/html; charset=utf-8").send(notBuiltPage);
      throw new HeddleError("console.not-found", `there is nothing at ${path.slice(0, 200)}`);
    }
    reply.header("etag", file.etag);
    reply.header(
      "cache-control",
      file.isImmutable ? "public, max-age=31536000, immutable" : "no-cache",
    );
    if (request.headers["if-none-match"] === file.etag) return reply.code(304).send();
    return reply.type(file.contentType).send(file.bytes);
  });
}

function originOf(request: FastifyRequest): Parameters<typeof refuseOrigin>[0] {
  const fetchSite = request.headers["sec-fetch-site"];
  return {
    host: request.headers.host,
    origin: request.headers.origin,
    fetchSite: typeof fetchSite === "string" ? fetchSite : undefined,
  };
}

const statuses: Readonly<Record<string, number>> = {
  "console.bad-request": 400,
  "console.no-token": 401,
  "console.forbidden": 403,
  "console.not-found": 404,
  "console.busy": 503,
  "console.proxy-unreachable": 502,
  "promql.parse": 400,
  "promql.execution": 422,
  "promql.limit": 422,
  "metrics.unreachable": 502,
};

function errorAnswer(error: unknown): { readonly status: number; readonly body: ErrorAnswer } {
  if (error instanceof HeddleError) {
    return {
      status: statuses[error.code] ?? 500,
      body: { code: error.code, message: error.message },
    };
  }
  const status = error instanceof Error && "statusCode" in error ? Number(error.statusCode) : 500;
  if (status >= 400 && status < 500) {
    return { status, body: { code: "console.bad-request", message: messageOf(error) } };
  }
  return {
    status: 500,
    body: { code: "console.internal", message: "the console failed; its log says why" },
  };
}
