/**
 * When `tcp_proxy` connects to its endpoint (`upstream_connect_mode`), and what a client may say before: Heddle
 * on each backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
/** Whoever waits for Envoy tries the first. */
const doors = ["at once", "on data", "on handshake", "on idle"] as const;
type Door = (typeof doors)[number];

let connections = 0;
/** Greets, and says what it hears. */
const server = net.createServer((socket) => {
  connections++;
  socket.on("error", () => {});
  socket.write("hi ");
  socket.on("data", (chunk) => socket.write(chunk));
});

let planes: Planes<Door> | undefined;

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  planes = await startPlanes(doors, (ports) => {
    const endpoint = `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
    const door = (name: Door, how: string): string =>
      `{name: ${name}, address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}, filter_chains: [{filters: [{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: ${name}, cluster: one${how}}}]}]}`;
    const when = (mode: string, bytesMax: number): string =>
      `, upstream_connect_mode: ${mode}, max_early_data_bytes: ${bytesMax}`;
    return `static_resources:
  clusters: [{name: one, connect_timeout: 5s, load_assignment: {cluster_name: one, endpoints: [{lb_endpoints: [${endpoint}]}]}}]
  listeners:
  - ${door("at once", "")}
  - ${door("on data", when("ON_DOWNSTREAM_DATA", 4))}
  - ${door("on handshake", when("ON_DOWNSTREAM_TLS_HANDSHAKE", 4))}
  - ${door("on idle", `${when("ON_DOWNSTREAM_DATA", 0)}, idle_timeout: 0.3s`)}
`;
  });
});

after(async () => {
  await planes?.close();
  server.close();
});

class Client {
  readonly #socket: net.Socket;
  #heard = "";

  constructor(plane: PlaneName, door: Door) {
    this.#socket = net.connect({ host: "127.0.0.1", port: planes?.port(plane, door) ?? 0 });
    this.#socket.on("data", (chunk) => (this.#heard += chunk.toString("latin1")));
    this.#socket.on("error", () => {});
  }

  say(text: string): void {
    this.#socket.write(text);
  }

  async hears(text: string): Promise<void> {
    while (this.#heard !== text) await once(this.#socket, "data");
  }

  async isClosed(): Promise<void> {
    // A reset is no orderly end.
    if (!this.#socket.closed) await once(this.#socket, "close");
  }

  leave(): void {
    this.#socket.destroy();
  }
}

async function counted(plane: PlaneName, name: string, door: Door): Promise<number> {
  const { body } = (await planes?.admin(plane, "/stats/prometheus")) ?? { body: "" };
  const line = body
    .split("\n")
    .find((text) => text.startsWith(`envoy_tcp_${name}{`) && text.includes(`tcp_prefix="${door}"`));
  return Number(line?.split(" ").at(-1) ?? 0);
}

async function until(plane: PlaneName, name: string, door: Door, count: number): Promise<void> {
  while ((await counted(plane, name, door)) < count) await sleep(5);
}

for (const plane of ["envoy", ...planeNames] as const) {
  test(`${plane}: nobody is connected to before the client has said something`, async () => {
    const before = await counted(plane, "downstream_cx_total", "on data");
    const silent = new Client(plane, "on data");
    await until(plane, "downstream_cx_total", "on data", before + 1);
    const known = connections;
    // Had it been connected to for the silent one, the server would have known before this one was greeted.
    const other = new Client(plane, "at once");
    await other.hears("hi ");
    assert.equal(connections, known + 1);
    silent.say("hello, server");
    await silent.hears("hi hello, server");
    assert.equal(connections, known + 2);
    assert.equal(await counted(plane, "early_data_received_count_total", "on data"), 1);
    assert.equal(await counted(plane, "early_data_received_count_total", "at once"), 0);
    other.leave();
    silent.leave();
  });

  test(`${plane}: a connection without TLS waits for no handshake`, async () => {
    const client = new Client(plane, "on handshake");
    await client.hears("hi ");
    client.leave();
  });

  test(`${plane}: who says nothing is given up when nothing has moved for long enough`, async () => {
    const known = connections;
    const client = new Client(plane, "on idle");
    await client.isClosed();
    assert.equal(await counted(plane, "idle_timeout", "on idle"), 1);
    assert.equal(connections, known);
  });
}
