/** What `header_mutation` makes of trailers on both ways: Heddle on each backend, and Envoy with the same file. */
import assert from "node:assert/strict";
import net, { type AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const mutation = `${extensions}.filters.http.header_mutation.v3`;
const chunked = "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";

/** It answers each request with trailers where the path asks for them, and keeps what it was sent. */
let heard = "";
const server = net.createServer((socket) => {
  let got = "";
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    got += chunk.toString("latin1");
    if (!/\r\n0\r\n(?:.+\r\n)*\r\n$/.test(got)) return;
    heard = got;
    const trailers = got.includes("/without") ? "" : "x-gone: 1\r\nx-kept: 1\r\nx-set: old\r\n";
    got = "";
    socket.write(`HTTP/1.1 200 OK\r\n${chunked}${trailers}\r\n`);
  });
});

const set = (value: string): object => ({
  append: { header: { key: "x-set", value }, append_action: "OVERWRITE_IF_EXISTS_OR_ADD" },
});
const add = (key: string, value: string): object => ({ append: { header: { key, value } } });
const changes = (by: string): object => ({
  request_trailers_mutations: [set("%REQ(:METHOD)%"), { remove: "x-gone" }, add("x-by", by)],
  response_trailers_mutations: [set("%ROUTE_NAME%"), { remove: "x-gone" }, add("x-by", by)],
});

let planes: Planes<"in">;

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a port, not on a path.
  const { port } = server.address() as AddressInfo;
  planes = await startPlanes(["in"], (ports) => {
    const manager = {
      "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "in",
      http_protocol_options: { enable_trailers: true },
      route_config: {
        virtual_hosts: [
          {
            name: "all",
            domains: ["*"],
            routes: [
              {
                name: "own",
                match: { prefix: "/own" },
                route: { cluster: "app" },
                typed_per_filter_config: {
                  change: {
                    "@type": `${mutation}.HeaderMutationPerRoute`,
                    mutations: changes("route"),
                  },
                },
              },
              { name: "all", match: { prefix: "/" }, route: { cluster: "app" } },
            ],
          },
        ],
      },
      http_filters: [
        {
          name: "change",
          typed_config: { "@type": `${mutation}.HeaderMutation`, mutations: changes("filter") },
        },
        {
          name: "last",
          typed_config: { "@type": `${mutation}.HeaderMutation`, mutations: changes("last") },
        },
        {
          name: "router",
          typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
        },
      ],
    };
    const options = {
      "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http_protocol_options: { enable_trailers: true } },
    };
    const address = (port_value: number): object => ({
      socket_address: { address: "127.0.0.1", port_value },
    });
    return JSON.stringify({
      static_resources: {
        clusters: [
          {
            name: "app",
            load_assignment: {
              cluster_name: "app",
              endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
            },
            typed_extension_protocol_options: {
              "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
            },
          },
        ],
        listeners: [
          {
            name: "in",
            address: address(ports.in),
            filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
          },
        ],
      },
    });
  });
});

after(async () => {
  await planes?.close();
  server.close();
});

/** Lines behind the last chunk. */
function trailersOf(text: string): readonly string[] {
  const end = text.split("\r\n0\r\n")[1] ?? "none";
  return end.split("\r\n").filter((line) => line !== "");
}

async function ask(plane: PlaneName, path: string, trailers: string): Promise<object> {
  heard = "";
  const text = await new Promise<string>((resolve, reject) => {
    let received = "";
    const socket = net.connect(planes.port(plane, "in"), "127.0.0.1", () =>
      socket.write(
        `POST ${path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n${chunked}${trailers}\r\n`,
      ),
    );
    socket.on("data", (chunk) => (received += chunk.toString("latin1")));
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
  });
  return { request: trailersOf(heard), answer: trailersOf(text) };
}

for (const path of ["/", "/own", "/without"]) {
  for (const trailers of ["", "x-gone: 1\r\nx-set: old\r\n"]) {
    test(`trailers are changed as by Envoy: ${path} ${trailers === "" ? "without" : "with"}`, async () => {
      const wanted = await ask("envoy", path, trailers);
      assert.equal(JSON.stringify(wanted).includes("x-by"), path !== "/without" || trailers !== "");
      for (const plane of planeNames) {
        assert.deepEqual(await ask(plane, path, trailers), wanted, plane);
      }
    });
  }
}
