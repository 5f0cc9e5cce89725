// What the shop's HTTP services share: answer JSON, call another service, hand the trace on.
// Nothing here knows of a mesh: names like http://catalog/ and the usual proxy variables are enough.
import { createServer, globalAgent, request } from "node:http";

// A service that wants its hops to show up in one trace passes these on from request to request.
const traceHeaders = [
  "x-request-id",
  "traceparent",
  "tracestate",
  "b3",
  "x-b3-traceid",
  "x-b3-spanid",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-flags",
  "baggage",
  "x-user",
];

globalAgent.maxSockets = 64;

const bodyBytesMax = 64 * 1024;
const callTimeoutMs = 8000;

/** Thrown by handlers and calls; becomes the answer's status. */
export class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * `routes`: "GET /path" → (context) => JSON value, or a string (HTML). Context: `url`, `body`
 * (parsed JSON), `headers`, and `call(method, url, body)`, which passes the trace on.
 */
export function serve(routes) {
  // Longer than proxies keep idle connections busy: a server that closes one of them races with the
  // request that is sent on it in that moment.
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, response) => {
    handle(routes, incoming).then(
      (value) => answer(response, 200, value),
      (error) => answer(response, error.status ?? 500, { error: error.message }),
    );
  });
  server.listen(Number(process.env.PORT ?? 8080), process.env.HOST);
  stopOnSignal(server);
  return server;
}

/** Finishes what is being answered, then ends. */
export function stopOnSignal(server) {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
      server.close(() => process.exit(0));
      server.closeIdleConnections?.();
      setTimeout(() => process.exit(0), 1500).unref();
    });
  }
}

async function handle(routes, incoming) {
  const url = new URL(incoming.url, "http://localhost");
  const route = routes[`${incoming.method} ${url.pathname}`];
  if (route === undefined) {
    if (url.pathname === "/healthz") return { ok: true };
    throw new HttpError(404, `there is no ${incoming.method} ${url.pathname}`);
  }
  const { headers } = incoming;
  return await route({
    url,
    headers,
    body: await readJson(incoming),
    call: (method, target, body) => call(method, target, body, headers),
  });
}

/** What a request's answerer passes on, so that its hops show up in one trace. */
export function traceOf(incoming) {
  const headers = {};
  for (const name of traceHeaders) if (incoming[name] !== undefined) headers[name] = incoming[name];
  return headers;
}

/** Calls a service; resolves with its JSON (or text), rejects with an HttpError. */
export async function call(method, target, body, incoming = {}) {
  const headers = { accept: "application/json", ...traceOf(incoming) };
  const payload = body === undefined ? undefined : JSON.stringify(body);
  if (payload !== undefined) {
    headers["content-type"] = "application/json";
    headers["content-length"] = Buffer.byteLength(payload);
  }
  return await new Promise((resolve, reject) => {
    const outgoing = request(target, { method, headers, timeout: callTimeoutMs }, (response) => {
      readJson(response).then((value) => {
        if (response.statusCode < 400) resolve(value);
        else reject(new HttpError(response.statusCode, `${target}: ${value?.error ?? "refused"}`));
      }, reject);
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer")));
    outgoing.on("error", (error) => reject(new HttpError(502, `${target}: ${error.message}`)));
    outgoing.end(payload);
  });
}

async function readJson(stream) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new HttpError(413, "the body is too large");
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString("utf8");
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function answer(response, status, value) {
  const isPage = typeof value === "string";
  response.writeHead(status, {
    "content-type": isPage ? "text/html; charset=utf-8" : "application/json",
  });
  response.end(isPage ? value : JSON.stringify(value));
}
