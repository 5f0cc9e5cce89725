/**
 * A bootstrap and the load that goes through it, for comparing what data planes count. Nothing in it
 * hangs on time: each step waits for its own end.
 */
import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";

const type = "type.googleapis.com/envoy.extensions";

/** `probe`: for whoever looks whether a proxy listens. */
export const doors = ["probe", "http", "second", "upgraded", "raw"] as const;
export type Door = (typeof doors)[number];
type PortOf = (door: Door) => number;

export interface Endpoints {
  readonly http: number;
  readonly http2: number;
  readonly raw: number;
  /** Nobody listens there. */
  readonly closed: number;
}

/** `isEnvoys`: whose histograms are shown when they are asked for only where that is said. */
export function bootstrap(
  ports: Readonly<Record<Door, number>>,
  to: Endpoints,
  isEnvoys: boolean,
): string {
  const cluster = (name: string, port: number, more = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 5s, ${more}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const http2Options = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const outlier =
    "outlier_detection: {consecutive_5xx: 2, interval: 3600s, base_ejection_time: 3600s, max_ejection_percent: 100}, common_lb_config: {healthy_panic_threshold: {value: 0}}, ";
  const route = (path: string, action: string): string => `{match: {prefix: ${path}}, ${action}}`;
  const routes = [
    route("/direct", "direct_response: {status: 200, body: {inline_string: hello}}"),
    route("/redirect", "redirect: {path_redirect: /elsewhere}"),
    route("/unknown", "route: {cluster_header: x-cluster}"),
    route("/closed", "route: {cluster: closed}"),
    route("/empty", "route: {cluster: empty}"),
    route("/h2", "route: {cluster: h2}"),
    route("/outlier", "route: {cluster: outlier}"),
    route("/retried", "route: {cluster: app, retry_policy: {retry_on: 5xx, num_retries: 1}}"),
    route("/late", "route: {cluster: app, timeout: 0.2s}"),
    route("/upgrade", "route: {cluster: upgraded, timeout: 0s}"),
    route("/app", "route: {cluster: app, timeout: 0s}"),
  ].join(", ");
  const manager = (prefix: string): string =>
    `{name: http, typed_config: {"@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: ${prefix}, codec_type: AUTO, upgrade_configs: [{upgrade_type: websocket}], http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}], route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [${routes}]}]}}}`;
  const tcp = `{name: tcp, typed_config: {"@type": ${type}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: raw, cluster: raw}}`;
  const listener = (door: Door, filter: string): string => `
  - name: ${door}
    stat_prefix: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    filter_chains: [{filters: [${filter}]}]`;
  return `${isEnvoys ? "\nstats_flush_on_admin: true" : ""}
static_resources:
  clusters:
  - ${cluster("app", to.http)}
  - ${cluster("h2", to.http2, http2Options)}
  - ${cluster("raw", to.raw)}
  - ${cluster("probe", to.raw)}
  - ${cluster("upgraded", to.http)}
  - ${cluster("closed", to.closed)}
  - ${cluster("outlier", to.http, outlier)}
  - {name: empty, type: STATIC, common_lb_config: {healthy_panic_threshold: {value: 0}}, load_assignment: {cluster_name: empty}}
  listeners:${listener("probe", tcp.replace("stat_prefix: raw, cluster: raw", "stat_prefix: probe, cluster: probe"))}${listener("http", manager("front"))}${listener("second", manager("second"))}${listener("upgraded", manager("upgraded"))}${listener("raw", tcp)}
`;
}

/** What the proxies send to; its ports are `endpoints`. */
export class Application {
  readonly #servers: (http.Server | http2.Http2Server | net.Server)[] = [];
  /** Whoever waits for a request that is not answered. */
  #onHeld: () => void = () => {};

  async start(closed: number): Promise<Endpoints> {
    const app = http.createServer((request, response) => this.#answer(request, response));
    app.keepAliveTimeout = 0;
    app.on("upgrade", (_, socket) => {
      socket.on("error", () => {});
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
      );
      socket.on("data", (chunk) => socket.write(chunk));
      socket.on("end", () => socket.end());
    });
    const app2 = http2.createServer();
    app2.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
      stream.on("error", () => {});
      if (headers[":path"] === "/h2/reset") stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
      else if (headers[":path"] === "/h2/held") this.#onHeld();
      else {
        stream.respond({ ":status": 200, "content-length": 5 });
        stream.end("hello");
      }
    });
    app2.on("sessionError", () => {});
    const raw = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => socket.write(chunk));
      socket.on("end", () => socket.end());
    });
    return {
      http: await this.#listen(app),
      http2: await this.#listen(app2),
      raw: await this.#listen(raw),
      closed,
    };
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { url = "" } = request;
    if (url.endsWith("/held") || url.startsWith("/late")) return this.#onHeld();
    const isFailing = url.endsWith("/failing") || url.startsWith("/retried");
    request.resume().on("end", () => {
      response.writeHead(isFailing ? 500 : 200, { "content-length": 2000 });
      response.end("x".repeat(2000));
    });
  }

  async #listen(server: http.Server | http2.Http2Server | net.Server): Promise<number> {
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    return address.port;
  }

  /** Resolves when a request has come that is not answered. */
  held(): Promise<void> {
    return new Promise((resolve) => {
      this.#onHeld = resolve;
    });
  }

  close(): void {
    for (const server of this.#servers) {
      server.close();
      if (server instanceof http.Server) server.closeAllConnections();
    }
  }
}

/**
 * All of it, one step after the other. `ejected` waits until the plane says that it has ejected an endpoint:
 * Envoy decides that in another thread than the one that serves.
 */
export async function load(
  port: PortOf,
  application: Application,
  ejected: () => Promise<void>,
): Promise<void> {
  await kept(port("http"), "/app", ["", "y".repeat(1000), ""]);
  for (const path of ["/direct", "/redirect", "/nowhere", "/unknown", "/closed", "/empty"]) {
    await get(port("http"), path);
  }
  for (const path of ["/app/failing", "/retried", "/late", "/h2", "/h2/reset"]) {
    await get(port("http"), path);
  }
  await kept(port("http"), "/outlier/failing", ["", ""]);
  await ejected();
  await get(port("http"), "/outlier/failing");
  await exchange(port("http"), "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n");
  await leave(port("http"), application);
  await http2Client(port("second"), application);
  await upgrade(port("upgraded"));
  await rawConnection(port("raw"));
}

/** Requests with these bodies on one connection, then its client closes. */
async function kept(port: number, path: string, bodies: readonly string[]): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (const body of bodies) {
    await new Promise<void>((resolve, reject) => {
      const headers = { host: "a", ...(body === "" ? {} : { "content-length": "1000" }) };
      const options = { host: "127.0.0.1", port, agent, path, headers };
      const method = body === "" ? "GET" : "POST";
      http
        .request({ ...options, method }, (answer) => void answer.resume().on("end", resolve))
        .on("error", reject)
        .end(body);
    });
  }
  agent.destroy();
}

/** On a connection of its own, which the client closes. */
async function get(port: number, path: string): Promise<void> {
  await exchange(port, `GET ${path} HTTP/1.1\r\nhost: a\r\nx-cluster: unknown\r\n\r\n`);
}

/** Sends and waits for the whole answer, then closes. */
async function exchange(port: number, text: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    let answer = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      const end = answer.indexOf("\r\n\r\n");
      const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? 0);
      if (end >= 0 && answer.length >= end + 4 + length) socket.end();
    });
    socket.on("close", () => resolve());
    socket.write(text);
  });
}

/** The client does not wait for its answer. */
async function leave(port: number, application: Application): Promise<void> {
  const held = application.held();
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET /app/held HTTP/1.1\r\nhost: a\r\n\r\n");
  await held;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.resume().end();
  await closed;
}

/** One request that is answered, and one that its client breaks off. */
async function http2Client(port: number, application: Application): Promise<void> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  await http2Get(session, "/h2");
  const held = application.held();
  const stream = session.request({ ":path": "/h2/held" });
  stream.on("error", () => {});
  await held;
  const broken = new Promise<void>((resolve) => stream.once("close", () => resolve()));
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await broken;
  const closed = new Promise<void>((resolve) => session.once("close", () => resolve()));
  session.close();
  await closed;
}

async function http2Get(session: http2.ClientHttp2Session, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const stream = session.request({ ":path": path });
    stream.on("error", reject);
    stream.resume().on("end", () => resolve());
  });
}

/** A protocol of its own, said once and heard once. */
async function upgrade(port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    let heard = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      const before = heard;
      heard += chunk.toString("latin1");
      if (!before.includes("\r\n\r\n") && heard.includes("\r\n\r\n")) socket.write("ping");
      if (heard.endsWith("ping")) socket.end();
    });
    socket.on("close", () => resolve());
    socket.write(
      "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
  });
}

async function rawConnection(port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", reject);
    socket.on("data", () => socket.end());
    socket.on("close", () => resolve());
    socket.write("hello");
  });
}
