/**
 * How long a request and its answer may be under way in a cluster, and how much an answer's head may
 * have, beside Envoy on the same file, towards endpoints of HTTP/1.1 and HTTP/2.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { agreedOf } from "./health-planes.ts";
import { bootstrapOf, type Place, type Plane, startPlanes } from "./planes.ts";

interface Answering {
  head(status: number, headers: Readonly<Record<string, string>>): void;
  write(text: string): void;
  end(text?: string): void;
}

/** How often each path was asked for, by data plane. */
const asked = new Map<string, number>();

function answer(path: string, plane: string, response: Answering): void {
  const [, , story = ""] = path.split("/");
  const key = `${path} ${plane}`;
  const count = (asked.get(key) ?? 0) + 1;
  asked.set(key, count);
  switch (story) {
    case "silent":
      return;
    case "stalls":
      response.head(200, { "content-length": "10" });
      return response.write("half");
    case "recovers":
      return count === 1 ? undefined : response.end("well");
    case "fields":
      response.head(
        200,
        Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`x-field-${i}`, "1"])),
      );
      return response.end("many");
    case "long":
      response.head(200, { "x-long": "x".repeat(70_000) });
      return response.end("long");
    default:
      return response.end("fine");
  }
}

const older = http.createServer({ maxHeaderSize: 1 << 20 }, (request, response) => {
  request.resume();
  answer(request.url ?? "", String(request.headers["x-plane"]), {
    head: (status, headers) => void response.writeHead(status, headers),
    write: (text) => void response.write(text),
    end: (text) => void response.end(text),
  });
});
older.on("upgrade", (_request, socket) => {
  socket.on("error", () => {});
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  );
});
const newer = http2.createServer({
  maxSendHeaderBlockLength: 1 << 20,
  settings: { enableConnectProtocol: true },
});
newer.on("sessionError", () => {});
newer.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
  stream.on("error", () => {});
  stream.resume();
  if (headers[":protocol"] !== undefined) return stream.respond({ ":status": 200 });
  const head = (status: number, more: http2.OutgoingHttpHeaders): void => {
    if (!stream.headersSent) stream.respond({ ":status": status, ...more });
  };
  answer(String(headers[":path"]), String(headers["x-plane"]), {
    head,
    write: (text) => void stream.write(text),
    end: (text) => {
      head(200, {});
      stream.end(text);
    },
  });
});
let planes: readonly Plane[] = [];

const protocols = ["h1", "h2"] as const;
const clusters: Readonly<Record<string, string>> = {
  short: "max_stream_duration: 1s",
  few: "max_headers_count: 20",
  many: "max_headers_count: 300",
  little: "max_response_headers_kb: 1",
  much: "max_response_headers_kb: 100",
  usual: "headers_with_underscores_action: DROP_HEADER",
};

const optionsUrl = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
function cluster(protocol: "h1" | "h2", name: string, common: string): string {
  const port = ((protocol === "h1" ? older : newer).address() as net.AddressInfo).port;
  const explicit =
    protocol === "h1"
      ? "http_protocol_options: {}"
      : "http2_protocol_options: {allow_connect: true}";
  const options = `{"@type": ${optionsUrl}, common_http_protocol_options: {${common}}, explicit_http_config: {${explicit}}}`;
  return `{name: ${protocol}-${name}, connect_timeout: 1s, load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: ${options}}}`;
}

const told = (name: string, value: string): string =>
  `{header: {key: ${name}, value: "%${value}%"}}`;
function route(protocol: "h1" | "h2", name: string): string {
  const match = `match: {prefix: /${protocol}-${name}/}`;
  const changes = `response_headers_to_add: [${told("x-flags", "RESPONSE_FLAGS")}, ${told("x-details", "RESPONSE_CODE_DETAILS")}], response_headers_to_remove: [x-long]`;
  return `{${match}, ${changes}, route: {cluster: ${protocol}-${name}, timeout: 60s}}`;
}
const retrying = (protocol: "h1" | "h2"): string =>
  route(protocol, "short")
    .replace(`/${protocol}-short/`, `/${protocol}-again/`)
    .replace("timeout: 60s", "timeout: 60s, retry_policy: {retry_on: reset, num_retries: 1}");

const folder = mkdtempSync(join(tmpdir(), "heddle-limits-"));
/** What Heddle's have logged, by port. */
const logged = new Map<number, string>();
const logOf = (port: number): string => join(folder, `${port}.log`);
const fileLog = (port: number): string =>
  `access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ${logOf(port)}, log_format: {text_format_source: {inline_string: "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n"}}}}]`;

before(async () => {
  const open = (one: net.Server): Promise<void> =>
    new Promise((resolve) => void one.listen(0, "127.0.0.1", resolve));
  await Promise.all([open(older), open(newer)]);
  const configuration = (place: Place): string =>
    bootstrapOf(place, {
      clusters: protocols.flatMap((protocol) =>
        Object.entries(clusters).map(([name, common]) => cluster(protocol, name, common)),
      ),
      routes: protocols
        .flatMap((protocol) => [
          ...Object.keys(clusters).map((name) => route(protocol, name)),
          retrying(protocol),
        ])
        .concat(
          "{match: {connect_matcher: {}}, route: {cluster: h1-short, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}",
        ),
      manager: [
        "upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]",
        fileLog(place.port),
      ],
    });
  planes = await startPlanes(configuration, {
    onLines: (path, lines) => {
      const port = Number(/(\d+)\.log$/.exec(path)?.[1]);
      logged.set(port, (logged.get(port) ?? "") + lines);
    },
  });
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  older.closeAllConnections();
  older.close();
  newer.close();
  rmSync(folder, { recursive: true });
});

async function ask(plane: Plane, path: string): Promise<string> {
  const headers = { "x-plane": String(plane.port) };
  return plane.ask(path, headers).then(
    ({ status, body, headers: got }) =>
      `${status} '${body}' flags=${String(got["x-flags"])} details=${String(got["x-details"])}`,
    () => "broken",
  );
}

const expected: Readonly<Record<string, RegExp>> = {
  "short/fine": /^200 'fine'/,
  "short/silent":
    /^504 'upstream max stream duration reached' flags=.*UMSDR.* details=upstream_max_stream_duration_reached$/,
  "short/stalls": /^broken$/,
  "again/silent": /^504 'upstream max stream duration reached'/,
  "again/recovers": /^200 'well'/,
  "few/fine": /^200 'fine'/,
  "few/fields": /^50[23] /,
  "usual/fields": /^50[23] /,
  "many/fields": /^200 'many'/,
  "little/fine": /^200 'fine'/,
  "little/long": /^50[23] /,
  "much/long": /^200 'long'/,
};

/** Heads that are too large are breaches of the protocol here (502); Envoy's HTTP/2 calls them resets (503). */
const differing: ReadonlySet<string> = new Set([
  "h2-few/fields",
  "h2-usual/fields",
  "h2-little/long",
]);

for (const protocol of protocols) {
  for (const [path, answered] of Object.entries(expected)) {
    test(`${protocol}-${path} is answered as by Envoy`, async () => {
      const found = await Promise.all(planes.map((plane) => ask(plane, `/${protocol}-${path}`)));
      const isSame = !differing.has(`${protocol}-${path}`);
      for (const [i, plane] of planes.entries()) {
        if (isSame) assert.equal(found[i], found.at(-1), plane.name);
        assert.match(found[i] ?? "", answered, plane.name);
      }
    });
  }
}

/** A request whose content does not end. */
function askHalf(plane: Plane, path: string): Promise<string> {
  return new Promise((resolve) => {
    const headers = { "x-plane": String(plane.port), "content-length": "10" };
    const request = http.request(
      { port: plane.port, path, method: "POST", headers },
      (response) => {
        let text = "";
        response.setEncoding("latin1");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("error", () => {});
        response.on("close", () =>
          resolve(`${response.statusCode ?? 0} '${text}' ${String(response.headers["x-flags"])}`),
        );
      },
    );
    request.on("error", () => resolve("broken"));
    request.write("half");
  });
}

for (const protocol of protocols) {
  test(`${protocol}: the time counts from the beginning, also of a request that does not end`, async () => {
    const path = `/${protocol}-short/silent`;
    const found = await Promise.all(planes.map((plane) => askHalf(plane, path)));
    for (const [i, plane] of planes.entries()) assert.equal(found[i], found.at(-1), plane.name);
    assert.match(found[0] ?? "", /UMSDR/);
  });
}

function upgrade(plane: Plane, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { connection: "upgrade", upgrade: "websocket" };
    const request = http.request({ port: plane.port, path, headers });
    request.on("error", reject);
    request.on("upgrade", (response, socket) => {
      socket.on("error", () => {});
      socket.on("close", () => resolve(`${response.statusCode ?? 0}, then closed`));
      socket.resume();
    });
    request.on("response", ({ statusCode }) => resolve(String(statusCode)));
    request.end();
  });
}

/** The line of a path, once it is there: Envoy writes every ten seconds. */
async function lineOf(plane: Plane, path: string): Promise<string> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const text = plane.isEnvoy
      ? readFileSync(logOf(plane.port), "utf8")
      : (logged.get(plane.port) ?? "");
    const line = text.split("\n").find((one) => one.startsWith(`${path} `));
    if (line !== undefined) return line;
    if (Date.now() > deadline) assert.fail(`${plane.name} does not log ${path}: ${text}`);
    await sleep(20);
  }
}

test("a tunnel of CONNECT lasts no longer, either", async () => {
  const found = await Promise.all(
    planes.map(
      (plane) =>
        new Promise<string>((resolve, reject) => {
          const request = http.request({
            port: plane.port,
            method: "CONNECT",
            path: "any.test:80",
          });
          request.on("error", reject);
          request.on("connect", (response, socket) => {
            socket.on("error", () => {});
            socket.on("close", () => resolve(`${response.statusCode ?? 0}, then closed`));
            socket.resume();
          });
          request.end();
        }),
    ),
  );
  for (const one of found) assert.equal(one, "200, then closed");
});

for (const protocol of protocols) {
  test(`${protocol}: an upgrade lasts no longer, either, and its log says why`, async () => {
    const path = `/${protocol}-short/upgrade`;
    const found = await Promise.all(planes.map((plane) => upgrade(plane, path)));
    for (const one of found) assert.equal(one, "101, then closed");
    const lines = await Promise.all(planes.map((plane) => lineOf(plane, path)));
    const expectedLine = `${path} 101 UMSDR upstream_max_stream_duration_reached`;
    for (const [i, plane] of planes.entries()) {
      assert.equal(lines[i], lines.at(-1), plane.name);
      assert.equal(lines[i], expectedLine, plane.name);
    }
  });
}

test("attempts that last too long are tried again where resets are, and counted", async () => {
  for (const plane of planes) {
    for (const protocol of protocols) {
      assert.equal(asked.get(`/${protocol}-again/silent ${plane.port}`), 2, plane.name);
    }
  }
  const counts = await agreedOf(
    planes,
    async (plane) =>
      (await plane.admin("/stats/prometheus"))
        .replaceAll("envoy_cluster_name=", "cluster_name=")
        .split("\n")
        .filter((line) => /^envoy_cluster_upstream_rq_max_duration_reached.*-short"/.test(line))
        .toSorted(),
    (lines) => lines.length === 2,
  );
  for (const line of counts) assert.match(line, /h1-short.* 8$|h2-short.* 7$/);
});
