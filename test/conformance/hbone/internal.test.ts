/**
 * Listeners inside the proxy: tunnels that begin and end there, one in another, and what is told of the
 * connection that they are made for. The same file under Heddle on either backend and under Envoy.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import {
  connectManager,
  type Credentials,
  fileLog,
  http2Options,
  internalAddress,
  internalListener,
  internalListeners,
  internalSocket,
  listener,
  originalDestination,
  secured,
  setState,
  socketAddress,
  staticCluster,
  tcpFilter,
  tunnelTo,
} from "./bootstraps.ts";
import {
  Client,
  EchoServer,
  type PlaneName,
  planeNames,
  type RunningPlane,
  startPlane,
  until,
} from "./planes.ts";

interface Plane extends RunningPlane {
  /** Tunnelled once, twice; as somebody whom the policy refuses; to a port that no chain takes. */
  readonly ports: Readonly<Record<Door, number>>;
  readonly log: () => readonly string[];
}

const doors = ["single", "double", "stranger", "astray"] as const;
type Door = (typeof doors)[number];

const extensions = "type.googleapis.com/envoy.extensions";
const folder = mkdtempSync(join(tmpdir(), "heddle-hbone-"));
const planes = new Map<PlaneName, Plane>();
let echo: EchoServer;

const principalKey = "io.istio.peer_principal";

/** Lets pass who the tunnel's end says that the peer is. */
function onlyFrom(principal: string): object {
  const filter_state = { key: principalKey, string_match: { exact: principal } };
  const rules = {
    action: "ALLOW",
    policies: { a: { permissions: [{ any: true }], principals: [{ filter_state }] } },
  };
  return {
    name: "rbac",
    typed_config: {
      "@type": `${extensions}.filters.network.rbac.v3.RBAC`,
      stat_prefix: "in",
      rules,
    },
  };
}

interface Parts {
  readonly ports: Readonly<Record<Door | "terminate" | "gateway", number>>;
  readonly file: string;
  readonly client: Credentials;
  readonly stranger: Credentials;
  readonly server: Credentials;
}

/** Opens tunnels to where endpoints say, by listeners inside. */
function originating({ ports, client, stranger }: Parts): {
  listeners: object[];
  clusters: object[];
} {
  const tls = (credentials: Credentials) => ({
    typed_extension_protocol_options: http2Options(),
    transport_socket: secured("Upstream", credentials),
  });
  const encap = (name: string, inside: string, local: string): object => {
    const metadata = { filter_metadata: { "envoy.filters.listener.original_dst": { local } } };
    const endpoint = { address: internalAddress(inside, local) };
    const load_assignment = {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint, metadata }] }],
    };
    const transport_socket = internalSocket(["envoy.filters.listener.original_dst"]);
    return { name, type: "STATIC", connect_timeout: "2s", load_assignment, transport_socket };
  };
  const originate = (name: string, cluster: string, hostname = "%DOWNSTREAM_LOCAL_ADDRESS%") =>
    internalListener(name, { filters: [tcpFilter(cluster, tunnelTo(hostname))] }, [
      originalDestination,
    ]);
  const destination = `127.0.0.1:${echo.port}`;
  return {
    listeners: [
      listener("single", ports.single, { filters: [tcpFilter("encap")] }),
      listener("stranger", ports.stranger, { filters: [tcpFilter("encap-stranger")] }),
      listener("astray", ports.astray, { filters: [tcpFilter("encap-astray")] }),
      listener("double", ports.double, { filters: [tcpFilter("encap-inner")] }),
      originate("connect_originate", "connect_originate"),
      originate("stranger_originate", "stranger_originate"),
      originate("inner_originate", "inner_originate"),
      originate("outer_originate", "outer_originate", `127.0.0.1:${ports.terminate}`),
    ],
    clusters: [
      encap("encap", "connect_originate", destination),
      encap("encap-stranger", "stranger_originate", destination),
      encap("encap-astray", "connect_originate", "127.0.0.1:9"),
      encap("encap-inner", "inner_originate", destination),
      staticCluster("connect_originate", socketAddress(ports.terminate), tls(client)),
      staticCluster("stranger_originate", socketAddress(ports.terminate), tls(stranger)),
      staticCluster("inner_originate", internalAddress("outer_originate"), tls(client)),
      staticCluster("outer_originate", socketAddress(ports.gateway), tls(client)),
    ],
  };
}

/** Ends them: within a listener inside, whose chains decide. */
function terminating({ ports, server, file }: Parts): { listeners: object[]; clusters: object[] } {
  const state = setState({
    "envoy.filters.listener.original_dst.local_ip": "%REQ(:AUTHORITY)%",
    "envoy.filters.listener.original_dst.remote_ip": "%DOWNSTREAM_REMOTE_ADDRESS%",
    [principalKey]: "%DOWNSTREAM_PEER_URI_SAN%",
  });
  const tunnels = connectManager([{ domains: ["*"], cluster: "main_internal" }], {}, [state]);
  const gateway = connectManager([{ domains: ["*"], cluster: "behind" }]);
  const transport_socket = secured("Downstream", server);
  const log = fileLog(
    file,
    `%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %FILTER_STATE(${principalKey}:PLAIN)% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %BYTES_RECEIVED% %BYTES_SENT%`,
  );
  const chain = {
    filter_chain_match: { destination_port: echo.port },
    filters: [
      onlyFrom("spiffe://cluster.local/ns/default/sa/client"),
      tcpFilter("echo", { access_log: [log] }),
    ],
  };
  return {
    listeners: [
      listener("connect_terminate", ports.terminate, { transport_socket, filters: [tunnels] }),
      listener("gateway", ports.gateway, { transport_socket, filters: [gateway] }),
      internalListener("main_internal", chain, [originalDestination]),
    ],
    clusters: [
      staticCluster("echo", socketAddress(echo.port)),
      staticCluster("behind", socketAddress(ports.terminate)),
      staticCluster("main_internal", internalAddress("main_internal"), {
        transport_socket: internalSocket([]),
        health_checks: [
          {
            timeout: "1s",
            interval: "60s",
            unhealthy_threshold: 1,
            healthy_threshold: 1,
            tcp_health_check: {},
          },
        ],
      }),
    ],
  };
}

before(async () => {
  echo = await EchoServer.start();
  const authority = await makeTestAuthority();
  const credentials = async (name: string): Promise<Credentials> => ({
    rootPem: authority.rootPem,
    certificate: await authority.issue({ uris: [`spiffe://cluster.local/ns/default/sa/${name}`] }),
  });
  const own = {
    client: await credentials("client"),
    stranger: await credentials("stranger"),
    server: await credentials("server"),
  };
  for (const name of planeNames) {
    const ports = {
      single: await freePort(),
      double: await freePort(),
      stranger: await freePort(),
      astray: await freePort(),
      terminate: await freePort(),
      gateway: await freePort(),
    };
    const file = join(folder, `${name}.log`);
    const parts = { ports, file, ...own };
    const [near, far] = [originating(parts), terminating(parts)];
    const bootstrap = {
      bootstrap_extensions: [internalListeners],
      static_resources: {
        listeners: [...near.listeners, ...far.listeners],
        clusters: [...near.clusters, ...far.clusters],
      },
    };
    const lines: string[] = [];
    const plane = await startPlane(name, bootstrap, ports.terminate, (text) => lines.push(text));
    const log = (): readonly string[] =>
      (name === "envoy" ? textOf(file) : lines.join("")).split("\n").slice(0, -1);
    planes.set(name, { ...plane, ports, log });
  }
});

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

after(async () => {
  for (const plane of planes.values()) await plane.close();
  echo.close();
  rmSync(folder, { recursive: true });
});

function planeOf(name: PlaneName): Plane {
  const plane = planes.get(name);
  assert(plane !== undefined);
  return plane;
}

for (const name of planeNames) {
  for (const door of ["single", "double"] as const) {
    test(`a connection passes a ${door} tunnel: ${name}`, async () => {
      const { ports, log } = planeOf(name);
      const before = log().length;
      const client = new Client(ports[door]);
      client.say("hello");
      await client.hears("hello");
      client.end();
      await client.ends();
      client.close();
      await until(() => echo.open === 0, "the server's connection is closed");
      // Lines of the connections of tests before may come meanwhile.
      const line = `127.0.0.1:${echo.port} 127.0.0.1 spiffe://cluster.local/ns/default/sa/client - echo 5 5`;
      await until(() => log().slice(before).includes(line), "the connection's line of the log");
    });

    test(`megabytes pass a ${door} tunnel, more than any queue: ${name}`, async () => {
      const bytes = 3 * 1024 * 1024;
      const client = new Client(planeOf(name).ports[door], false);
      client.say(Buffer.alloc(bytes, "x"));
      await until(
        () => client.bytes === bytes,
        () => `all of it, but ${client.bytes}`,
      );
      client.close();
      await until(() => echo.open === 0, "the server's connection is closed");
    });

    test(`120 connections at once pass a ${door} tunnel: ${name}`, async () => {
      const clients = Array.from({ length: 120 }, () => new Client(planeOf(name).ports[door]));
      for (const [i, client] of clients.entries()) client.say(`I am ${i}`);
      for (const [i, client] of clients.entries()) await client.hears(`I am ${i}`);
      for (const client of clients) client.close();
      await until(() => echo.open === 0, "the server's connections are closed");
    });
  }

  test(`who the peer is decides, though the tunnel ends before: ${name}`, async () => {
    const client = new Client(planeOf(name).ports.stranger);
    client.say("hello");
    await client.closes();
    assert.equal(client.text, "");
    assert.equal(echo.open, 0);
  });

  test(`a destination that no chain takes is not reached: ${name}`, async () => {
    // Envoy has been seen to leave such a connection open, once in some hundred.
    for (let tries = name === "envoy" ? 3 : 1; tries > 0; tries--) {
      const client = new Client(planeOf(name).ports.astray);
      client.say("hello");
      const hasClosed = await client.closes().then(
        () => true,
        (thrown: unknown) => {
          if (tries === 1) throw thrown;
          return false;
        },
      );
      assert.equal(client.text, "");
      client.close();
      if (hasClosed) return;
    }
  });
}
