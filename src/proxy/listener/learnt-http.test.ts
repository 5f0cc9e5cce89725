/** What a listener has learnt of a destination by one client must not make others wait, over real sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";

import { freePort } from "../../../test/support/free-port.ts";
import { startProxyInProcess } from "../../../test/support/proxy-in-process.ts";

const types = "type.googleapis.com/envoy.extensions.filters";

interface Way {
  readonly port: number;
  readonly serverPort: number;
}

/** A listener and a server for each way. */
function bootstrap(ways: readonly Way[]): object {
  const at = (one: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: one },
  });
  const managerTo = (cluster: string): object => ({
    "@type": `${types}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "http",
    http_filters: [{ name: "router", typed_config: { "@type": `${types}.http.router.v3.Router` } }],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, route: { cluster } }],
        },
      ],
    },
  });
  const tcp = { "@type": `${types}.network.tcp_proxy.v3.TcpProxy`, stat_prefix: "tcp" };
  const inspector = `${types}.listener.http_inspector.v3.HttpInspector`;
  return {
    static_resources: {
      listeners: ways.map(({ port }, i) => ({
        name: `out${i}`,
        address: at(port),
        traffic_direction: "OUTBOUND",
        listener_filters: [{ name: "http", typed_config: { "@type": inspector } }],
        listener_filters_timeout: "0.2s",
        continue_on_listener_filters_timeout: true,
        filter_chains: [
          {
            filter_chain_match: { application_protocols: ["http/1.1", "h2c"] },
            filters: [{ name: "http", typed_config: managerTo(`server${i}`) }],
          },
        ],
        default_filter_chain: {
          filters: [{ name: "tcp", typed_config: { ...tcp, cluster: `server${i}` } }],
        },
      })),
      clusters: ways.map(({ serverPort }, i) => ({
        name: `server${i}`,
        type: "STATIC",
        load_assignment: {
          cluster_name: `server${i}`,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: at(serverPort) } }] }],
        },
      })),
    },
  };
}

/** What comes first of all, where the client says `words`, or nothing. */
function firstWords(port: number, words = ""): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(words));
    socket.on("error", () => resolve("broken"));
    socket.on("close", () => resolve("closed"));
    socket.once("data", (chunk: Buffer) => {
      resolve(chunk.toString("latin1").split("\r\n")[0] ?? "");
      socket.destroy();
    });
  });
}

/** The way to a server that greets each connection, or answers whatever it is asked. */
async function serve(t: TestContext, does: { greets?: string; answers?: string }): Promise<Way> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    if (does.greets !== undefined) socket.write(does.greets);
    socket.on("data", () => socket.write(does.answers ?? ""));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { port: await freePort(), serverPort: (server.address() as AddressInfo).port };
}

const request = "GET / HTTP/1.1\r\nhost: any\r\n\r\n";
const mail = { greets: "220 ready\r\n" };
const web = { answers: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" };

for (const io of ["portable", "epoll"] as const) {
  test(
    `a server that speaks first is heard although somebody has asked it by HTTP (${io})`,
    { timeout: 20_000 },
    async (t) => {
      const way = await serve(t, mail);
      const proxy = await startProxyInProcess(bootstrap([way]), io);
      t.after(() => proxy.close());
      assert.match(await firstWords(way.port, request), /^HTTP\/1\.1 50[23] /);
      assert.equal(await firstWords(way.port), "220 ready");
      // It is known now, and whoever asks by HTTP then changes nothing.
      await firstWords(way.port, request);
      assert.equal(await firstWords(way.port), "220 ready");
      assert.match(proxy.metrics(), /heddle_detection_total\{decided_by="bound",[^}]*\} 1\n/);
    },
  );

  test(
    `a client of a server that has answered in HTTP may be silent (${io})`,
    { timeout: 20_000 },
    async (t) => {
      const ways = [await serve(t, web), await serve(t, mail)] as const;
      const [known, other] = ways;
      const proxy = await startProxyInProcess(bootstrap(ways), io);
      t.after(() => proxy.close());
      assert.match(await firstWords(known.port, request), /^HTTP\/1\.1 200 /);
      const silent = connect(known.port, "127.0.0.1");
      await once(silent, "connect");
      // Who came later has waited as long as one waits for whom nothing is known.
      assert.equal(await firstWords(other.port), "220 ready");
      silent.write(request);
      const [answer] = await once(silent, "data");
      assert.match(String(answer), /^HTTP\/1\.1 200 OK/);
      silent.destroy();
      const decided = /heddle_detection_total\{decided_by="first_bytes",protocol="http"\} 2\n/;
      assert.match(proxy.metrics(), decided);
    },
  );
}
