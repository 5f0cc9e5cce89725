import assert from "node:assert/strict";
import dgram from "node:dgram";
import net from "node:net";
import { test, type TestContext } from "node:test";

import * as dnsPacket from "dns-packet";

import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { createPortableDialler } from "../net/portable-dialler.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { type DnsServer, startDnsServer } from "./dns.ts";

/** Closed after the test, also after one that failed: an open socket would keep the process. */
async function start(
  t: TestContext,
  upstream?: SocketAddress,
  addresses: readonly string[] = ["127.0.0.1"],
  metrics = createMetricRegistry(),
): Promise<DnsServer> {
  const server = await startDnsServer({
    addresses,
    proxyAddress: "127.0.0.2",
    port: 0,
    scope: { namespace: "default", domain: "cluster.local" },
    upstream,
    dialler: createPortableDialler({ clock: systemClock, log: silentLog }),
    clock: systemClock,
    log: silentLog,
    metrics,
  });
  t.after(() => server.close());
  return server;
}

const catalog = { ipv4: ["198.19.0.5"], ipv6: ["fd48:6564:646c::5"] };
const table = new Map([
  ["catalog.default.svc.cluster.local", catalog],
  ["ledger.bank.svc.cluster.local", { ipv4: ["198.19.0.6"], ipv6: [] }],
  ["*.example.com", { ipv4: ["198.19.0.7"], ipv6: [] }],
  ["db.example.org", { ipv4: ["240.240.1.2"], ipv6: ["2001:2::102"] }],
]);

type Answer = ReturnType<typeof dnsPacket.decode>;

function askUdp(
  server: DnsServer,
  name: string,
  type: "A" | "AAAA" = "A",
  asker: "application" | "proxy" = "application",
): Promise<Answer> {
  const at = server.udp[asker === "application" ? 0 : 1];
  const socket = dgram.createSocket("udp4");
  return new Promise((resolve) => {
    socket.on("message", (bytes) => {
      socket.close();
      resolve(dnsPacket.decode(bytes));
    });
    const questions = [{ type, name }];
    socket.send(
      dnsPacket.encode({ type: "query", id: 7, flags: 256, questions }),
      at?.port ?? 0,
      at?.address,
    );
  });
}

function rcodeOf(answer: Answer): unknown {
  return Reflect.get(answer, "rcode");
}

function addressesOf(answer: Answer): unknown[] {
  return (answer.answers ?? []).map((record) => Reflect.get(record, "data"));
}

test("startDnsServer() answers short and full names from the table", async (t) => {
  const server = await start(t);
  server.update(table);
  for (const name of [
    "catalog",
    "CATALOG.default",
    "catalog.default.svc",
    "catalog.default.svc.cluster.local",
  ]) {
    assert.deepEqual(addressesOf(await askUdp(server, name)), ["198.19.0.5"], name);
  }
  assert.deepEqual(addressesOf(await askUdp(server, "catalog", "AAAA")), ["fd48:6564:646c::5"]);
  assert.deepEqual(addressesOf(await askUdp(server, "ledger.bank")), ["198.19.0.6"]);
  assert.deepEqual(addressesOf(await askUdp(server, "a.b.example.com")), ["198.19.0.7"]);
  const noIpv6 = await askUdp(server, "ledger.bank", "AAAA");
  assert.deepEqual([rcodeOf(noIpv6), addressesOf(noIpv6)], ["NOERROR", []]);
});

test("startDnsServer() denies what is missing in the mesh and refuses what is foreign", async (t) => {
  const server = await start(t);
  server.update(table);
  assert.equal(rcodeOf(await askUdp(server, "nobody.default.svc.cluster.local")), "NXDOMAIN");
  assert.equal(rcodeOf(await askUdp(server, "example.org.default.svc.cluster.local")), "NXDOMAIN");
  assert.equal(rcodeOf(await askUdp(server, "example.org")), "REFUSED");
});

test("startDnsServer() asks the outside over TCP, and truncates what no datagram holds", async (t) => {
  const outside = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      const { id, questions } = dnsPacket.streamDecode(bytes);
      const name = questions?.[0]?.name ?? "";
      const count = name === "long.example.org" ? 100 : 1;
      const answers = Array.from({ length: count }, (_, i) => {
        return { type: "A" as const, name, ttl: 5, data: `192.0.2.${i + 1}` };
      });
      const flags = 0x8180;
      const packet = { type: "response" as const, flags, answers };
      socket.write(
        dnsPacket.streamEncode({
          ...packet,
          ...(id === undefined ? {} : { id }),
          ...(questions === undefined ? {} : { questions }),
        }),
      );
    });
  });
  await new Promise<void>((resolve) => outside.listen(0, "127.0.0.1", resolve));
  t.after(() => outside.close());
  const bound = outside.address();
  assert.ok(bound !== null && typeof bound !== "string");
  const server = await start(t, { address: "127.0.0.1", port: bound.port });
  assert.deepEqual(addressesOf(await askUdp(server, "example.org")), ["192.0.2.1"]);
  server.update(table);
  const toApplication = await askUdp(server, "db.example.org");
  assert.deepEqual(addressesOf(toApplication), ["240.240.1.2"], "which leads to the proxy");
  const toProxy = await askUdp(server, "db.example.org", "A", "proxy");
  assert.deepEqual(addressesOf(toProxy), ["192.0.2.1"], "which is where the host is");
  const inMesh = await askUdp(server, "catalog", "A", "proxy");
  assert.deepEqual(addressesOf(inMesh), ["198.19.0.5"]);
  const long = await askUdp(server, "long.example.org");
  assert.equal(Reflect.get(long, "flag_tc"), true);
  assert.deepEqual(addressesOf(long), []);

  const client = net.connect(server.tcp[0]?.port ?? 0, "127.0.0.1");
  const questions = [{ type: "A" as const, name: "long.example.org" }];
  client.write(dnsPacket.streamEncode({ type: "query", id: 9, flags: 256, questions }));
  const answer = await new Promise<Answer>((resolve) => {
    const chunks: Buffer[] = [];
    client.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      const all = Buffer.concat(chunks);
      if (all.length >= 2 && all.length >= 2 + all.readUInt16BE(0)) {
        resolve(dnsPacket.streamDecode(all));
      }
    });
  });
  assert.equal(addressesOf(answer).length, 100);
  client.destroy();
});

const edns = {
  type: "OPT" as const,
  name: "." as const,
  udpPayloadSize: 512,
  flags: 0,
  options: [],
  extendedRcode: 0,
  ednsVersion: 0,
  flag_do: false,
};

/** One question over UDP or TCP to one address, with or without EDNS. */
function ask(
  { address, port }: { readonly address: string; readonly port: number },
  how: { readonly over: "udp" | "tcp"; readonly ednsBytes?: number; readonly name: string },
): Promise<Answer> {
  const { over, ednsBytes, name } = how;
  const query = {
    type: "query" as const,
    id: 5,
    flags: 256,
    questions: [{ type: "A" as const, name }],
    ...(ednsBytes === undefined ? {} : { additionals: [{ ...edns, udpPayloadSize: ednsBytes }] }),
  };
  return new Promise((resolve, reject) => {
    if (over === "udp") {
      const socket = dgram.createSocket(address.includes(":") ? "udp6" : "udp4");
      socket.on("error", reject).on("message", (bytes) => {
        socket.close();
        resolve(dnsPacket.decode(bytes));
      });
      socket.send(dnsPacket.encode(query), port, address);
      return;
    }
    const socket = net.connect(port, address);
    const chunks: Buffer[] = [];
    socket.on("error", reject).on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      const all = Buffer.concat(chunks);
      if (all.length < 2 || all.length < 2 + all.readUInt16BE(0)) return;
      socket.destroy();
      resolve(dnsPacket.streamDecode(all));
    });
    socket.write(dnsPacket.streamEncode(query));
  });
}

test("startDnsServer() answers over UDP and TCP, in both families, as much as the asker takes", async (t) => {
  const server = await start(t, undefined, ["127.0.0.1", "::1"]);
  const many = Array.from({ length: 60 }, (_, i) => `198.19.1.${i}`);
  const name = "many.default.svc.cluster.local";
  server.update(new Map([...table, [name, { ipv4: many, ipv6: [] }]]));
  for (const [i, family] of (["IPv4", "IPv6"] as const).entries()) {
    const [udp, tcp] = [server.udp[i], server.tcp[i]];
    assert.ok(udp !== undefined && tcp !== undefined, family);
    const short = await ask(udp, { over: "udp", name });
    assert.equal(Reflect.get(short, "flag_tc"), true, family);
    assert.ok(addressesOf(short).length < 60, family);
    const longer = await ask(udp, { over: "udp", name, ednsBytes: 4096 });
    assert.deepEqual([Reflect.get(longer, "flag_tc"), addressesOf(longer).length], [false, 60]);
    assert.ok(
      (longer.additionals ?? []).some((one) => Reflect.get(one, "type") === "OPT"),
      family,
    );
    const whole = await ask(tcp, { over: "tcp", name });
    assert.deepEqual([Reflect.get(whole, "flag_tc"), addressesOf(whole).length], [false, 60]);
  }
});

test("startDnsServer() says SERVFAIL when the outside is silent or gone", async (t) => {
  const outside = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => outside.listen(0, "127.0.0.1", resolve));
  const bound = outside.address();
  assert.ok(bound !== null && typeof bound !== "string");
  const server = await start(t, { address: "127.0.0.1", port: bound.port });
  assert.equal(rcodeOf(await askUdp(server, "example.org")), "SERVFAIL");
  outside.close();
  assert.equal(rcodeOf(await askUdp(server, "example.org")), "SERVFAIL");
});

test("startDnsServer() keeps few answers for an asker that does not read them", async (t) => {
  const metrics = createMetricRegistry();
  const server = await start(t, undefined, ["127.0.0.1"], metrics);
  const many = Array.from({ length: 4000 }, (_, i) => `198.19.${i >> 8}.${i & 255}`);
  const name = "many.default.svc.cluster.local";
  server.update(new Map([[name, { ipv4: many, ipv6: [] }]]));
  const client = net.connect(server.tcp[0]?.port ?? 0, "127.0.0.1").pause();
  client.on("error", () => {});
  t.after(() => client.destroy());
  const questions = [{ type: "A" as const, name }];
  const question = dnsPacket.streamEncode({ type: "query", id: 9, flags: 256, questions });
  // Answers of 64 KB each: all of them would be 100 MB.
  client.write(Buffer.concat(Array.from({ length: 1600 }, () => question)));
  const given = metrics.counter("heddle_dns_overflow_total", "");
  while (given.value === 0) await new Promise((resolve) => setImmediate(resolve));
  const answered = metrics.counter("heddle_dns_answered_total", "").value;
  assert.ok(answered < 400, `${answered} answers were made`);
});
