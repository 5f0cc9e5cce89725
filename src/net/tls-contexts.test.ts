import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import tls from "node:tls";

import { FakeSecrets } from "../../test/support/secrets.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import {
  makeTestAuthority,
  type TestAuthority,
  type TestCertificate,
} from "../../test/support/test-certificates.ts";
import { systemClock } from "../base/clock.ts";
import {
  DownstreamTlsContext,
  UpstreamTlsContext,
} from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { Channel, ChannelError } from "./channel.ts";
import { openIo } from "./io-backend.ts";
import type { BoundListener } from "./listen.ts";
import { startServerHandshake } from "./server-handshake.ts";
import type { TlsFailureKind } from "./tls/failure.ts";
import { createClientTls, createServerTls, type TlsCounters } from "./tls-contexts.ts";

const cart = "spiffe://cluster.local/ns/default/sa/cart";
const catalog = "spiffe://cluster.local/ns/default/sa/catalog";
const backends = (["portable", "epoll"] as const)
  .map((choice) => openIo(choice, systemClock, silentLog))
  .map((io) => ({ ...io, dialler: io.createDialler({ log: silentLog }) }));
let [backend] = backends;

/** Tests of a file run one after another. */
function onBoth(name: string, run: (t: TestContext) => Promise<void> | void): void {
  for (const one of new Map(backends.map((io) => [io.name, io])).values()) {
    test(`${name} (${one.name})`, (t) => {
      backend = one;
      return run(t);
    });
  }
}

class Counts implements TlsCounters {
  handshakes = 0;
  readonly failures: TlsFailureKind[] = [];

  onHandshake(): void {
    this.handshakes += 1;
  }

  onFailure(kind: TlsFailureKind): void {
    this.failures.push(kind);
  }
}

function secretsOf(certificate: TestCertificate | undefined, rootPem: string): FakeSecrets {
  const secrets = new FakeSecrets();
  if (certificate !== undefined) secrets.set("default", { kind: "certificate", ...certificate });
  secrets.set("ROOTCA", { kind: "validation", trustedCaPem: rootPem });
  return secrets;
}

function commonContext(sanUri: string | undefined, alpn: readonly string[]) {
  return {
    alpnProtocols: [...alpn],
    tlsCertificateSdsSecretConfigs: [{ name: "default" }],
    combinedValidationContext: {
      defaultValidationContext: {
        matchTypedSubjectAltNames:
          sanUri === undefined ? [] : [{ sanType: 3 as const, matcher: { exact: sanUri } }],
      },
      validationContextSdsSecretConfig: { name: "ROOTCA" },
    },
  };
}

function io() {
  assert.ok(backend !== undefined);
  return backend;
}

function dialler() {
  return io().dialler;
}

interface Outcome {
  readonly client: Channel | ChannelError;
  readonly server: Channel | ChannelError;
  readonly serverCounts: Counts;
  readonly clientCounts: Counts;
  /** What the client's context told of failures. */
  readonly told: readonly ChannelError[];
}

interface Scenario {
  readonly authority: TestAuthority;
  readonly serverSecrets: FakeSecrets;
  readonly clientSecrets: FakeSecrets;
  readonly expected?: string;
  readonly clientAlpn?: readonly string[];
  /** The client asks for nothing that the server's certificate must chain to. */
  readonly trustsAnybody?: boolean;
  readonly after?: (server: Channel, client: Channel) => void | Promise<void>;
}

/** One connection through both contexts; the first bytes are read before the handshake starts. */
async function shake(t: TestContext, scenario: Scenario): Promise<Outcome> {
  const serverCounts = new Counts();
  const clientCounts = new Counts();
  const told: ChannelError[] = [];
  const serverTls = createServerTls(
    DownstreamTlsContext.fromPartial({
      requireClientCertificate: true,
      commonTlsContext: commonContext(undefined, ["istio", "http/1.1"]),
    }),
    { secrets: scenario.serverSecrets, log: silentLog, counters: serverCounts },
  );
  const clientTls = createClientTls(
    UpstreamTlsContext.fromPartial({
      sni: "outbound_.80_._.catalog.default.svc.cluster.local",
      commonTlsContext:
        scenario.trustsAnybody === true
          ? { tlsCertificateSdsSecretConfigs: [{ name: "default" }] }
          : commonContext(scenario.expected, scenario.clientAlpn ?? ["istio"]),
    }),
    {
      secrets: scenario.clientSecrets,
      log: silentLog,
      counters: clientCounts,
      onFailure: (error) => told.push(error),
    },
  );
  const server = Promise.withResolvers<Channel | ChannelError>();
  const listener = await listenTls(t, (channel, first) => {
    startServerHandshake({
      channel,
      tls: serverTls,
      first,
      offeredAlpn: scenario.clientAlpn ?? ["istio"],
      timeoutMs: 2_000,
      clock: systemClock,
      log: silentLog,
      onSecure: server.resolve,
      onFailure: server.resolve,
    });
  });
  const client = Promise.withResolvers<Channel | ChannelError>();
  const silent = { onData: () => {}, onEnd: () => {}, onDrain: () => {} };
  const dialled = dialler().dial({
    address: listener.address,
    tls: clientTls,
    timeoutMs: 2_000,
    handler: {
      ...silent,
      onClose: (error) => client.resolve(error ?? { code: "none", message: "" }),
    },
    onConnect: client.resolve,
  });
  t.after(() => dialled.destroy());
  const ends = { client: await client.promise, server: await server.promise };
  if ("write" in ends.client && "write" in ends.server) {
    await scenario.after?.(ends.server, ends.client);
  }
  return { ...ends, serverCounts, clientCounts, told };
}

/**
 * Reads the first bytes, as a listener filter does, then hands over. Closed after the test with what
 * it accepted, also after one that failed.
 */
async function listenTls(
  t: TestContext,
  onFirst: (channel: Channel, first: Buffer) => void,
): Promise<BoundListener> {
  const listener = await io().listen({
    on: { kind: "address", address: "127.0.0.1", port: 0 },
    connectionsMax: 10,
    readsOriginalDestination: false,
    log: silentLog,
    onChannel: (channel) => {
      t.after(() => channel.destroy());
      channel.handler = {
        onData: (chunk) => onFirst(channel, chunk),
        onEnd: () => {},
        onDrain: () => {},
        onClose: () => {},
      };
    },
  });
  t.after(() => listener.close());
  return listener;
}

function session(end: Channel | ChannelError) {
  assert.ok("write" in end, "message" in end ? end.message : "");
  assert.ok(end.tls);
  return end.tls;
}

function failure(end: Channel | ChannelError): ChannelError {
  assert.ok(!("write" in end), "the handshake succeeded");
  return end;
}

onBoth("mutual TLS tells both ends who the other is", async (t) => {
  const authority = await makeTestAuthority();
  const outcome = await shake(t, {
    authority,
    serverSecrets: secretsOf(
      await authority.issue({ uris: [catalog], commonName: "catalog-0.default" }),
      authority.rootPem,
    ),
    clientSecrets: secretsOf(
      await authority.issue({ uris: [cart], commonName: "cart-0.default" }),
      authority.rootPem,
    ),
    expected: catalog,
    after: async (server, client) => {
      const got = Promise.withResolvers<string>();
      const end = { onEnd: () => {}, onDrain: () => {}, onClose: () => {} };
      server.handler = { ...end, onData: (chunk) => got.resolve(chunk.toString()) };
      client.write(Buffer.from("secret"));
      assert.equal(await got.promise, "secret");
    },
  });
  const server = session(outcome.server);
  assert.deepEqual(server.peerUriSans, [cart]);
  assert.equal(server.peerCommonName, "cart-0.default");
  assert.deepEqual(server.localUriSans, [catalog]);
  assert.equal(server.sni, "outbound_.80_._.catalog.default.svc.cluster.local");
  assert.equal(server.version, "TLSv1.3");
  assert.equal(server.alpn, "istio");
  const client = session(outcome.client);
  assert.deepEqual(client.peerUriSans, [catalog]);
  assert.equal(client.alpn, "istio");
  assert.equal(outcome.serverCounts.handshakes + outcome.clientCounts.handshakes, 2);
});

onBoth(
  "bytes that TLS had decrypted when a channel paused wait for it, and the end behind them",
  async (t) => {
    const authority = await makeTestAuthority();
    const secrets = secretsOf(await authority.issue({ uris: [cart] }), authority.rootPem);
    const sent = randomBytes(300_000);
    const outcome = await shake(t, {
      authority,
      serverSecrets: secrets,
      clientSecrets: secrets,
      after: async (server, client) => {
        const ended = Promise.withResolvers<void>();
        const received: Buffer[] = [];
        let isPaused = false;
        server.handler = {
          onData: (chunk) => {
            assert.ok(!isPaused, "told although paused");
            received.push(Buffer.from(chunk));
            isPaused = true;
            server.pause();
            setImmediate(() => {
              isPaused = false;
              server.resume();
            });
          },
          onEnd: ended.resolve,
          onDrain: () => {},
          onClose: () => {},
        };
        client.write(sent);
        client.end();
        await ended.promise;
        assert.ok(Buffer.concat(received).equals(sent));
      },
    });
    assert.equal(session(outcome.server).version, "TLSv1.3");
  },
);

onBoth("destroy() breaks a connection where it is told to, also below TLS", async (t) => {
  const authority = await makeTestAuthority();
  const secrets = secretsOf(await authority.issue({ uris: [cart] }), authority.rootPem);
  const check = async (breaks: "client" | "server"): Promise<void> => {
    await shake(t, {
      authority,
      serverSecrets: secrets,
      clientSecrets: secrets,
      after: async (server, client) => {
        const closed = Promise.withResolvers<ChannelError | undefined>();
        const said = Promise.withResolvers<void>();
        const silent = { onEnd: () => {}, onDrain: () => {} };
        const [broken, told] = breaks === "client" ? [client, server] : [server, client];
        told.handler = { ...silent, onData: () => said.resolve(), onClose: closed.resolve };
        broken.write(Buffer.from("x"));
        await said.promise;
        broken.destroy("reset");
        assert.equal((await closed.promise)?.code, "ECONNRESET");
      },
    });
  };
  await check("client");
  await check("server");
});

onBoth("the server goes on without ALPN when nothing is shared", async (t) => {
  const authority = await makeTestAuthority();
  const certificate = await authority.issue({ uris: [cart] });
  const secrets = secretsOf(certificate, authority.rootPem);
  const outcome = await shake(t, {
    authority,
    serverSecrets: secrets,
    clientSecrets: secrets,
    clientAlpn: ["foreign"],
  });
  assert.equal(session(outcome.server).alpn, undefined);
});

onBoth("the client refuses a server with another identity and names it", async (t) => {
  const authority = await makeTestAuthority();
  const secrets = secretsOf(await authority.issue({ uris: [cart] }), authority.rootPem);
  const outcome = await shake(t, {
    authority,
    serverSecrets: secrets,
    clientSecrets: secrets,
    expected: catalog,
  });
  const error = failure(outcome.client);
  assert.equal(error.code, "tls-wrong-identity");
  assert.match(error.message, /presented spiffe:\/\/cluster.local\/ns\/default\/sa\/cart/);
  assert.deepEqual(outcome.clientCounts.failures, ["wrong-identity"]);
  assert.deepEqual(outcome.told, [error]);
});

onBoth(
  "the server refuses certificates that are expired, foreign, ambiguous or missing",
  async (t) => {
    const authority = await makeTestAuthority();
    const foreign = await makeTestAuthority();
    const own = secretsOf(await authority.issue({ uris: [catalog] }), authority.rootPem);
    const check = async (certificate: TestCertificate, kind: TlsFailureKind): Promise<void> => {
      const outcome = await shake(t, {
        authority,
        serverSecrets: own,
        clientSecrets: secretsOf(certificate, authority.rootPem),
      });
      assert.equal(failure(outcome.server).code, `tls-${kind}`);
      assert.deepEqual(outcome.serverCounts.failures, [kind]);
    };
    await check(await authority.issue({ uris: [cart], validForMs: -60_000 }), "expired");
    await check(await foreign.issue({ uris: [cart] }), "unknown-root");
    await check(await authority.issue({ uris: [cart, catalog] }), "wrong-identity");
  },
);

onBoth(
  "the client refuses a server of a foreign root, and one that speaks plaintext",
  async (t) => {
    const authority = await makeTestAuthority();
    const foreign = await makeTestAuthority();
    const certificate = await authority.issue({ uris: [catalog] });
    const outcome = await shake(t, {
      authority,
      serverSecrets: secretsOf(certificate, authority.rootPem),
      clientSecrets: secretsOf(certificate, foreign.rootPem),
    });
    assert.equal(failure(outcome.client).code, "tls-unknown-root");

    const counts = new Counts();
    const clientTls = createClientTls(
      UpstreamTlsContext.fromPartial({ commonTlsContext: commonContext(undefined, []) }),
      { secrets: secretsOf(certificate, authority.rootPem), log: silentLog, counters: counts },
    );
    const listener = await listenTls(t, (channel) => {
      channel.write(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
      channel.end();
    });
    const closed = Promise.withResolvers<ChannelError | undefined>();
    const dialled = dialler().dial({
      address: listener.address,
      tls: clientTls,
      timeoutMs: 2_000,
      handler: {
        onData: () => assert.fail("a plaintext byte was read"),
        onEnd: () => {},
        onDrain: () => {},
        onClose: closed.resolve,
      },
      onConnect: () => assert.fail("connected"),
    });
    t.after(() => dialled.destroy());
    assert.equal((await closed.promise)?.code, "tls-plaintext");
  },
);

onBoth("a secret that has not arrived fails handshakes; a new one serves the next", async (t) => {
  const authority = await makeTestAuthority();
  const certificate = await authority.issue({ uris: [catalog] });
  const clientSecrets = secretsOf(certificate, authority.rootPem);
  const serverSecrets = secretsOf(undefined, authority.rootPem);
  const scenario = { authority, serverSecrets, clientSecrets };
  assert.equal(failure((await shake(t, scenario)).server).code, "tls-no-secret");
  serverSecrets.set("default", { kind: "certificate", ...certificate });
  assert.equal(session((await shake(t, scenario)).server).version, "TLSv1.3");
});

onBoth("a secret that is taken away serves no handshake any more", async (t) => {
  const authority = await makeTestAuthority();
  const certificate = await authority.issue({ uris: [catalog] });
  const secrets = secretsOf(certificate, authority.rootPem);
  const counters = new Counts();
  const common = commonContext(undefined, ["istio"]);
  const serverTls = createServerTls(
    DownstreamTlsContext.fromPartial({ requireClientCertificate: true, commonTlsContext: common }),
    { secrets, log: silentLog, counters },
  );
  for (const [name, secret] of [
    ["ROOTCA", { kind: "validation", trustedCaPem: authority.rootPem }],
    ["default", { kind: "certificate", ...certificate }],
  ] as const) {
    secrets.remove(name);
    const ended = await shakeRaw(t, serverTls, certificate);
    assert.equal(failure(ended.server).code, "tls-no-secret", name);
    secrets.set(name, secret);
    session((await shakeRaw(t, serverTls, certificate)).server);
  }
});

onBoth("a client whose certificate was taken back is refused, and no other", async (t) => {
  const authority = await makeTestAuthority();
  const [certificate, revoked] = [
    await authority.issue({ uris: [catalog] }),
    await authority.issue({ uris: [cart] }),
  ];
  const counters = new Counts();
  const crl = { inlineString: await authority.revoke([revoked]) };
  const serverTls = createServerTls(
    DownstreamTlsContext.fromPartial({
      requireClientCertificate: true,
      commonTlsContext: {
        alpnProtocols: ["istio"],
        tlsCertificateSdsSecretConfigs: [{ name: "default" }],
        combinedValidationContext: {
          defaultValidationContext: { crl },
          validationContextSdsSecretConfig: { name: "ROOTCA" },
        },
      },
    }),
    { secrets: secretsOf(certificate, authority.rootPem), log: silentLog, counters },
  );
  session((await shakeRaw(t, serverTls, certificate)).server);
  const ended = await shakeRaw(t, serverTls, revoked);
  assert.equal(failure(ended.server).code, "tls-bad-certificate");
});

onBoth("a server's names that nobody verified are nobody's", async (t) => {
  const [authority, foreign] = [await makeTestAuthority(), await makeTestAuthority()];
  const outcome = await shake(t, {
    authority,
    serverSecrets: secretsOf(await foreign.issue({ uris: [catalog] }), authority.rootPem),
    clientSecrets: secretsOf(await authority.issue({ uris: [cart] }), authority.rootPem),
    trustsAnybody: true,
    clientAlpn: [],
  });
  const { peerUriSans, peerCommonName, peerCertificateDer } = session(outcome.client);
  assert.deepEqual(peerUriSans, []);
  assert.deepEqual([peerCommonName, peerCertificateDer], [undefined, undefined]);
  assert.deepEqual(session(outcome.server).peerUriSans, [cart]);
});

/** A client of Node's own. */
async function shakeRaw(
  t: TestContext,
  serverTls: ReturnType<typeof createServerTls>,
  { chainPem, privateKeyPem }: TestCertificate,
) {
  const server = Promise.withResolvers<Channel | ChannelError>();
  const listener = await listenTls(t, (channel, first) => {
    startServerHandshake({
      channel,
      tls: serverTls,
      first,
      offeredAlpn: undefined,
      timeoutMs: 2_000,
      clock: systemClock,
      log: silentLog,
      onSecure: (secured) => {
        secured.write(Buffer.from("hello"));
        server.resolve(secured);
      },
      onFailure: server.resolve,
    });
  });
  const client = tls.connect({
    host: listener.address.address,
    port: listener.address.port,
    rejectUnauthorized: false,
    cert: chainPem,
    key: privateKeyPem,
  });
  t.after(() => client.destroy());
  await new Promise((resolve) =>
    client.once("data", resolve).once("error", resolve).once("close", resolve),
  );
  return { server: await server.promise };
}

onBoth("startServerHandshake() calls plaintext by its name", async (t) => {
  const authority = await makeTestAuthority();
  const counts = new Counts();
  const secrets = secretsOf(await authority.issue({ uris: [catalog] }), authority.rootPem);
  const serverTls = createServerTls(
    DownstreamTlsContext.fromPartial({ commonTlsContext: commonContext(undefined, ["istio"]) }),
    { secrets, log: silentLog, counters: counts },
  );
  const failed = Promise.withResolvers<ChannelError>();
  const listener = await listenTls(t, (channel, first) => {
    startServerHandshake({
      channel,
      tls: serverTls,
      first,
      offeredAlpn: undefined,
      timeoutMs: 2_000,
      clock: systemClock,
      log: silentLog,
      onSecure: () => assert.fail("secured"),
      onFailure: failed.resolve,
    });
  });
  const socket: Socket = connect(listener.address.port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nHost: catalog\r\n\r\n");
  assert.equal((await failed.promise).code, "tls-plaintext");
});

onBoth("createServerTls() refuses what it cannot honour", () => {
  const dependencies = { secrets: new FakeSecrets(), log: silentLog, counters: new Counts() };
  const refuse = (config: DownstreamTlsContext): void => {
    assert.throws(() => createServerTls(config, dependencies), { code: "tls-unsupported" });
  };
  refuse(DownstreamTlsContext.fromPartial({ requireClientCertificate: true }));
  for (const tlsParams of [
    { cipherSuites: ["[AES1|NOPE]"] },
    { ecdhCurves: ["P-7"] },
    { signatureAlgorithms: ["rsa_md2"] },
    { compliancePolicies: [0 as const] },
  ]) {
    refuse(DownstreamTlsContext.fromPartial({ commonTlsContext: { tlsParams } }));
  }
  for (const validationContext of [
    { verifyCertificateHash: ["00"] },
    { allowExpiredCertificate: true },
    { crl: { inlineString: "" } },
  ]) {
    refuse(DownstreamTlsContext.fromPartial({ commonTlsContext: { validationContext } }));
  }
});

onBoth("a client that leaves before the handshake is done is no client", async (t) => {
  const authority = await makeTestAuthority();
  const secrets = secretsOf(await authority.issue({ uris: [catalog] }), authority.rootPem);
  const counts = new Counts();
  const tls = createServerTls(
    DownstreamTlsContext.fromPartial({ commonTlsContext: commonContext(undefined, []) }),
    { secrets, log: silentLog, counters: counts },
  );
  const ends: (Channel | ChannelError)[] = [];
  const told = Promise.withResolvers<void>();
  const tell = (end: Channel | ChannelError): void => {
    ends.push(end);
    told.resolve();
  };
  const common = { tls, offeredAlpn: undefined, timeoutMs: 2_000, clock: systemClock };
  const listener = await listenTls(t, (channel, first) => {
    startServerHandshake({
      channel,
      first,
      ...common,
      log: silentLog,
      onSecure: tell,
      onFailure: tell,
    });
  });
  // The first half of a ClientHello's record, then an orderly end.
  const socket = connect(listener.address.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.end(Buffer.from([0x16, 0x03, 0x01, 0x00, 0xc8, 0x01, 0x00, 0x00, 0xc4, 0x03, 0x03]));
  await told.promise;
  assert.deepEqual(
    ends.map((end) => ("code" in end ? end.code : "a channel")),
    ["tls-closed"],
  );
  assert.deepEqual([counts.handshakes, counts.failures], [0, ["closed"]]);
  socket.destroy();
});

test("createServerTls() and createClientTls() follow no secret where they refuse", () => {
  let listeners = 0;
  const secrets = {
    get: () => undefined,
    onChange: () => {
      listeners++;
      return () => void listeners--;
    },
  };
  const dependencies = { secrets, log: silentLog, counters: new Counts() };
  const refused = DownstreamTlsContext.fromPartial({ requireClientCertificate: true });
  assert.throws(() => createServerTls(refused, dependencies), /without a trusted CA/);
  const nameless = UpstreamTlsContext.fromPartial({ autoSniSanValidation: true });
  assert.throws(() => createClientTls(nameless, dependencies), /without a trusted CA/);
  assert.equal(listeners, 0);
  const made = createClientTls(UpstreamTlsContext.fromPartial({}), dependencies);
  assert.equal(listeners, 1);
  made.close();
  assert.equal(listeners, 0);
});

test("createClientTls() refuses what a certificate says beside its chain and key", () => {
  const inline = { inlineString: "x" };
  const certificate = { certificateChain: inline, privateKey: inline, ocspStaple: inline };
  const config = UpstreamTlsContext.fromPartial({
    commonTlsContext: { tlsCertificates: [certificate] },
  });
  const dependencies = { secrets: new FakeSecrets(), log: silentLog, counters: new Counts() };
  assert.throws(() => createClientTls(config, dependencies), /tls_certificates\[0\]\.ocsp_staple/);
});
