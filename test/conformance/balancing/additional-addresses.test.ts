/** Endpoints with several addresses: which of them connections go to, beside Envoy on the same file. */
import assert from "node:assert/strict";
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { extensions, httpListenerText, oneHostText } from "../proxy/bootstrap-text.ts";
import { type PlaneName, planeNames, type Planes, startPlanes } from "../proxy/planes.ts";

interface Kind {
  readonly addresses: readonly string[];
  readonly eyeballs?: string;
  readonly speaks?: "tls" | "http2";
  /** Where a connection arrives; empty: nowhere. */
  readonly arrives: string;
  /** So many connections are tried. */
  readonly tries: number;
}

// Nobody is at x; s accepts connections and says nothing.
const kinds = {
  one: { addresses: ["a4"], arrives: "a4", tries: 1 },
  first: { addresses: ["a4", "b4"], arrives: "a4", tries: 1 },
  second: { addresses: ["x4", "b4"], arrives: "b4", tries: 2 },
  turns: { addresses: ["x4", "y4", "b4", "a6"], arrives: "a6", tries: 2 },
  "six-first": {
    addresses: ["a4", "b4", "x6", "a6"],
    eyeballs: "first_address_family_version: V6",
    arrives: "a4",
    tries: 2,
  },
  "two-of-six": {
    addresses: ["a4", "b4", "x6", "a6"],
    eyeballs: "first_address_family_version: V6, first_address_family_count: 2",
    arrives: "a6",
    tries: 2,
  },
  "two-of-first": {
    addresses: ["x4", "b4", "a6"],
    eyeballs: "first_address_family_count: 2",
    arrives: "b4",
    tries: 2,
  },
  none: { addresses: ["x4", "y4", "x6"], arrives: "", tries: 3 },
  secure: { addresses: ["x4", "a4", "b4"], speaks: "tls", arrives: "a4", tries: 2 },
  silent: { addresses: ["s4", "b4"], speaks: "tls", arrives: "b4", tries: 2 },
  "over-http2": { addresses: ["x4", "b4"], speaks: "http2", arrives: "b4", tries: 2 },
} as const satisfies Readonly<Record<string, Kind>>;

type KindName = keyof typeof kinds;
// Keys of a literal.
const names = Object.keys(kinds) as KindName[];
const hosts: Readonly<Record<string, string>> = {
  a4: "127.0.9.1",
  b4: "127.0.9.2",
  x4: "127.0.9.3",
  y4: "127.0.9.4",
  s4: "127.0.9.5",
  // Of IPv6 there is one address of loopback: at another port it is nobody's.
  a6: "::1",
  x6: "::1",
};

const closers: (() => void)[] = [];
let planes: Planes<"http" | KindName> | undefined;
const allPlanes: readonly PlaneName[] = [...planeNames, "envoy"];

const tlsUrl = `${extensions}.transport_sockets.tls.v3.UpstreamTlsContext`;
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

function clusterOf(name: string, kind: Kind, port: number): string {
  const { addresses, eyeballs, speaks } = kind;
  const at = (host: string): string =>
    `address: {socket_address: {address: "${hosts[host] ?? ""}", port_value: ${host === "x6" ? 1 : port}}}`;
  const [first = "", ...others] = addresses;
  const endpoint = `{${at(first)}, additional_addresses: [${others.map((one) => `{${at(one)}}`).join(", ")}]}`;
  const fields = [
    `name: ${name}`,
    "connect_timeout: 5s",
    `load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: ${endpoint}}]}]}`,
    ...(eyeballs === undefined
      ? []
      : [`upstream_connection_options: {happy_eyeballs_config: {${eyeballs}}}`]),
    ...(speaks === "tls"
      ? [`transport_socket: {name: tls, typed_config: {"@type": ${tlsUrl}}}`]
      : []),
    ...(speaks === "http2"
      ? [
          `typed_extension_protocol_options: {${httpOptions}: {"@type": type.googleapis.com/${httpOptions}, explicit_http_config: {http2_protocol_options: {}}}}`,
        ]
      : []),
  ];
  return `  - {${fields.join(", ")}}`;
}

async function listen(server: net.Server, host: string, port: number): Promise<void> {
  closers.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
}

/** Each says which it is, to whoever says something. */
async function openServers(): Promise<Readonly<Record<"plain" | "tls" | "http2", number>>> {
  const authority = await makeTestAuthority();
  const issued = await authority.issue({ uris: [], dnsNames: ["any.test"], ips: [] });
  const secure = { cert: issued.chainPem, key: issued.privateKeyPem };
  const ports = { plain: await freePort(), tls: await freePort(), http2: await freePort() };
  for (const name of ["a4", "b4", "a6"]) {
    const host = hosts[name] ?? "";
    const answer = (socket: net.Socket): void => {
      socket.on("error", () => {});
      socket.once("data", () =>
        socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n${name}`),
      );
    };
    await listen(net.createServer(answer), host, ports.plain);
    await listen(tls.createServer(secure, answer), host, ports.tls);
    const many = http2.createServer((_request, response) => response.end(name));
    await listen(many, host, ports.http2);
  }
  const held = new Set<net.Socket>();
  const silent = net.createServer((socket) => {
    socket.on("error", () => {});
    held.add(socket);
  });
  await listen(silent, hosts["s4"] ?? "", ports.tls);
  closers.push(() => {
    for (const socket of held) socket.destroy();
  });
  return ports;
}

before(async () => {
  const at = await openServers();
  planes = await startPlanes(["http", ...names], (ports, { logFile }) => {
    const routes = names.map((name) => `{match: {prefix: /${name}}, route: {cluster: ${name}}}`);
    const http = {
      virtualHosts: oneHostText(routes),
      log: {
        file: logFile,
        format:
          "%REQ(:PATH)% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_FLAGS%",
      },
    };
    const listeners = names.map(
      (name) => `  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: ${name}}`,
    );
    return `
static_resources:
  clusters:
${names.map((name) => clusterOf(name, kinds[name], at[portOf(kinds[name])])).join("\n")}
  listeners:
  - ${httpListenerText("http", ports.http, http)}
${listeners.join("\n")}
`;
  });
});

function portOf({ speaks }: Kind): "plain" | "tls" | "http2" {
  return speaks ?? "plain";
}

after(async () => {
  await planes?.close();
  for (const close of closers) close();
});

/** What comes back when something has been said; empty where the connection just ends. */
async function say(port: number, text: string): Promise<string> {
  return await new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(text));
    let heard = "";
    socket.on("data", (chunk) => (heard += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => resolve(heard));
  });
}

async function triesOf(
  running: Planes<KindName | "http">,
  plane: PlaneName,
  name: string,
): Promise<number> {
  const { body } = await running.admin(plane, `/stats/prometheus?filter=upstream_cx_total`);
  const row = body
    .split("\n")
    .find(
      (line) => line.startsWith("envoy_cluster_upstream_cx_total{") && line.includes(`"${name}"`),
    );
  return Number(row?.split(" ").at(-1));
}

for (const name of names) {
  test(`'${name}' reaches the same address as with Envoy`, async () => {
    const { arrives, tries }: Kind = kinds[name];
    const running = planes;
    assert.ok(running !== undefined);
    const logs: string[] = [];
    for (const plane of allPlanes) {
      const answer = await fetch(`http://127.0.0.1:${running.port(plane, "http")}/${name}`);
      const body = await answer.text();
      assert.equal(answer.status === 200 ? body : "", arrives, plane);
      assert.equal(await triesOf(running, plane, name), tries, plane);
      const isHttp = portOf(kinds[name]) !== "http2";
      if (isHttp) {
        const heard = await say(running.port(plane, name), "anybody?\r\n");
        assert.equal(heard.split("\r\n\r\n").at(-1), arrives, plane);
        // Those of connections that never stood are counted differently.
        if (arrives !== "") assert.equal(await triesOf(running, plane, name), 2 * tries, plane);
      }
      const line = await logged(running, plane, name);
      logs.push(line.replace(/:\d+ /, ":PORT "));
    }
    for (const [i, line] of logs.entries()) assert.equal(line, logs.at(-1), allPlanes[i] ?? "");
  });
}

async function logged(
  running: Planes<KindName | "http">,
  plane: PlaneName,
  name: string,
): Promise<string> {
  for (;;) {
    const line = running.log(plane).find((one) => one.startsWith(`/${name} `));
    if (line !== undefined) return line;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
