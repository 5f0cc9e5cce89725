/**
 * HBONE between every client and every server there is: Heddle on either backend and Envoy, each towards
 * each, over mutual TLS. TCP connections become streams of CONNECT on shared connections of HTTP/2.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import {
  connectManager,
  http2Options,
  listener,
  secured,
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

const running: RunningPlane[] = [];
let echo: EchoServer;
let greeter: EchoServer;
/** By client, server and destination: where a connection is tunnelled. */
const doors = new Map<string, number>();
const destinations = ["echo", "greeter", "nobody", "unknown"] as const;
type Destination = (typeof destinations)[number];

function doorOf(client: PlaneName, server: PlaneName, to: Destination): number {
  return doors.get(`${client} ${server} ${to}`) ?? 0;
}

before(async () => {
  echo = await EchoServer.start();
  greeter = await EchoServer.start("welcome ");
  const authority = await makeTestAuthority();
  const credentials = async (name: string) => ({
    rootPem: authority.rootPem,
    certificate: await authority.issue({ uris: [`spiffe://cluster.local/ns/default/sa/${name}`] }),
  });
  const own = { client: await credentials("client"), server: await credentials("server") };
  const nobody = await freePort();
  const serverPorts = new Map<PlaneName, number>();
  for (const name of planeNames) {
    const port = await freePort();
    serverPorts.set(name, port);
    const manager = connectManager([
      { domains: ["echo.test:80"], cluster: "echo" },
      { domains: ["greeter.test:80"], cluster: "greeter" },
      { domains: ["nobody.test:80"], cluster: "nobody" },
    ]);
    const chain = { transport_socket: secured("Downstream", own.server), filters: [manager] };
    const bootstrap = {
      static_resources: {
        listeners: [listener("connect_terminate", port, chain)],
        clusters: [
          staticCluster("echo", socketAddress(echo.port)),
          staticCluster("greeter", socketAddress(greeter.port)),
          staticCluster("nobody", socketAddress(nobody)),
        ],
      },
    };
    running.push(await startPlane(name, bootstrap, port));
  }
  for (const client of planeNames) {
    const listeners: object[] = [];
    const clusters: object[] = [];
    let ready = 0;
    for (const [server, serverPort] of serverPorts) {
      const more = {
        typed_extension_protocol_options: http2Options(),
        transport_socket: secured("Upstream", own.client),
      };
      clusters.push(staticCluster(server, socketAddress(serverPort), more));
      for (const to of destinations) {
        const port = await freePort();
        ready = port;
        doors.set(`${client} ${server} ${to}`, port);
        const filter = tcpFilter(
          server,
          tunnelTo(`${to}.test:80`, [["baggage", "k8s.pod.name=a"]]),
        );
        listeners.push(listener(`${server}-${to}`, port, { filters: [filter] }));
      }
    }
    running.push(await startPlane(client, { static_resources: { listeners, clusters } }, ready));
  }
});

after(async () => {
  for (const plane of running) await plane.close();
  echo.close();
  greeter.close();
});

/** Every pair of a client's proxy and a server's. */
function eachPair(
  title: string,
  run: (door: (to: Destination) => number, pair: readonly [PlaneName, PlaneName]) => Promise<void>,
): void {
  for (const client of planeNames) {
    for (const server of planeNames) {
      // Both ends Envoy: says what the others are compared with.
      test(`${title}: ${client} towards ${server}`, async () => {
        await run((to) => doorOf(client, server, to), [client, server]);
      });
    }
  }
}

eachPair("a connection passes, and ends with its client", async (door) => {
  const client = new Client(door("echo"));
  client.say("hello");
  await client.hears("hello");
  client.say(" again");
  await client.hears("hello again");
  client.end();
  await client.ends();
  await until(() => echo.open === 0, "the server's connection is closed");
  client.close();
});

eachPair("a server that speaks first is heard", async (door) => {
  const client = new Client(door("greeter"));
  await client.hears("welcome ");
  client.say("thanks");
  await client.hears("welcome thanks");
  client.close();
  await until(() => greeter.open === 0, "the server's connection is closed");
});

eachPair("megabytes pass both ways at once, more than any window", async (door) => {
  const bytes = 3 * 1024 * 1024;
  const client = new Client(door("echo"), false);
  client.say(Buffer.alloc(bytes, "x"));
  await until(
    () => client.bytes === bytes,
    () => `all of it, but ${client.bytes}`,
  );
  client.close();
  await until(() => echo.open === 0, "the server's connection is closed");
});

eachPair("150 connections at once share few of HTTP/2", async (door) => {
  const clients = Array.from({ length: 150 }, () => new Client(door("echo")));
  for (const [i, client] of clients.entries()) client.say(`I am ${i}`);
  for (const [i, client] of clients.entries()) await client.hears(`I am ${i}`);
  assert.equal(echo.open, 150);
  for (const client of clients) client.close();
  await until(() => echo.open === 0, "the server's connections are closed");
});

eachPair("nobody is reached where there is no such destination", async (door) => {
  for (const to of ["unknown", "nobody"] as const) {
    const client = new Client(door(to));
    client.say("hello");
    // A reset where "hello" was not read before, else the end of one half: Envoy does either.
    await client.ends();
    client.end();
    await client.closes();
    assert.equal(client.text, "");
  }
});

eachPair("a server that breaks off is seen to", async (door) => {
  const client = new Client(door("echo"));
  client.say("hello");
  await client.hears("hello");
  echo.breakAll();
  await client.ends();
  client.close();
  await until(() => echo.open === 0, "the server's connection is closed");
});
