import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import tls from "node:tls";

import { FakeSecrets } from "../../test/support/secrets.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { makeTestAuthority, type TestCertificate } from "../../test/support/test-certificates.ts";
import { systemClock } from "../base/clock.ts";
import {
  type DeepPartial,
  DownstreamTlsContext,
  UpstreamTlsContext,
} from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { inspectTlsHello } from "../wire/tls-hello.ts";
import type { Channel, ChannelError, TlsSession } from "./channel.ts";
import type { ClientTls } from "./dialler.ts";
import { openIo } from "./io-backend.ts";
import type { BoundListener } from "./listen.ts";
import { startServerHandshake } from "./server-handshake.ts";
import type { TlsFailureKind } from "./tls/failure.ts";
import {
  createClientTls,
  createServerTls,
  createTlsCounters,
  type ServerTls,
  type TlsCounters,
} from "./tls-contexts.ts";

const cart = "spiffe://cluster.local/ns/default/sa/cart";
const catalog = "spiffe://cluster.local/ns/default/sa/catalog";
const hourMs = 3_600_000;
const authority = await makeTestAuthority();
const stranger = await makeTestAuthority();
const ios = (["portable", "epoll"] as const).map((choice) =>
  openIo(choice, systemClock, silentLog),
);
const versions = ["TLSv1.3", "TLSv1.2"] as const;

class Counts implements TlsCounters {
  handshakes = 0;
  resumed = 0;
  readonly failures: TlsFailureKind[] = [];

  onHandshake(isResumed: boolean): void {
    this.handshakes++;
    if (isResumed) this.resumed++;
  }

  onFailure(kind: TlsFailureKind): void {
    this.failures.push(kind);
  }
}

function secretsOf(certificate: TestCertificate, rootPem = authority.rootPem): FakeSecrets {
  const secrets = new FakeSecrets();
  secrets.set("default", { kind: "certificate", ...certificate });
  secrets.set("ROOTCA", { kind: "validation", trustedCaPem: rootPem });
  return secrets;
}

const sds = {
  tlsCertificateSdsSecretConfigs: [{ name: "default" }],
  validationContextSdsSecretConfig: { name: "ROOTCA" },
};

/** A server with one filter chain at a time, that answers one byte to the first it reads. */
class Server {
  readonly counts = new Counts();
  readonly errors: ChannelError[] = [];
  readonly sessions: TlsSession[] = [];
  readonly secrets: FakeSecrets;
  tls: ServerTls;
  /** Of the wall clock, which decides whether certificates have expired since. */
  aheadMs = 0;
  listener: BoundListener | undefined;
  readonly #open = new Set<Channel>();

  constructor(secrets: FakeSecrets, config: DeepPartial<DownstreamTlsContext>) {
    this.secrets = secrets;
    this.tls = this.chain(config);
  }

  chain(config: DeepPartial<DownstreamTlsContext>, serverNames: readonly string[] = []): ServerTls {
    const { secrets, counts } = this;
    const message = DownstreamTlsContext.fromPartial({
      requireClientCertificate: true,
      commonTlsContext: sds,
      ...config,
    });
    return createServerTls(message, { secrets, log: silentLog, counters: counts, serverNames });
  }

  async listen(io: (typeof ios)[number]): Promise<this> {
    this.listener = await io.listen({
      on: { kind: "address", address: "127.0.0.1", port: 0 },
      connectionsMax: 10,
      readsOriginalDestination: false,
      log: silentLog,
      onChannel: (channel) => this.#accept(channel),
    });
    return this;
  }

  get port(): number {
    return this.listener?.address.port ?? 0;
  }

  async close(): Promise<void> {
    for (const channel of this.#open) channel.destroy();
    await this.listener?.close();
  }

  #accept(channel: Channel): void {
    this.#open.add(channel);
    const silent = { onEnd: () => {}, onDrain: () => {}, onClose: () => {} };
    channel.handler = {
      ...silent,
      onData: (chunk) => {
        const first = Buffer.from(chunk);
        const hello = inspectTlsHello(first);
        startServerHandshake({
          channel,
          tls: this.tls,
          first,
          offeredAlpn: [],
          requestedSni: hello.kind === "hello" ? hello.hello.sni : undefined,
          timeoutMs: 5_000,
          clock: { ...systemClock, nowMs: () => Date.now() + this.aheadMs },
          log: silentLog,
          onSecure: (secured) => {
            this.#open.add(secured);
            if (secured.tls !== undefined) this.sessions.push(secured.tls);
            const answer = { ...silent, onData: () => void secured.write(Buffer.from("!")) };
            secured.handler = { ...answer, onEnd: () => secured.end() };
          },
          onFailure: (error) => this.errors.push(error),
        });
      },
    };
  }
}

interface Visit {
  readonly session: Buffer | undefined;
  readonly isResumed: boolean;
  /** The server has answered. */
  readonly isServed: boolean;
}

/** A client that does as it likes with its sessions. */
function visit(server: Server, options: tls.ConnectionOptions): Promise<Visit> {
  return new Promise((resolve) => {
    let session: Buffer | undefined;
    const end = (isServed: boolean): void => {
      resolve({ session, isResumed: isServed && socket.isSessionReused(), isServed });
      socket.destroy();
    };
    const socket = tls.connect({
      port: server.port,
      host: "127.0.0.1",
      rejectUnauthorized: false,
      servername: "catalog",
      ...options,
    });
    socket.on("session", (given) => (session = given));
    socket.on("secureConnect", () => socket.write("?"));
    socket.on("data", () => end(true));
    socket.on("error", () => end(false));
    socket.on("close", () => end(false));
  });
}

function own({ chainPem, privateKeyPem }: TestCertificate): tls.ConnectionOptions {
  return { cert: chainPem, key: privateKeyPem };
}

const catalogCertificate = await authority.issue({ uris: [catalog] });
const cartCertificate = await authority.issue({ uris: [cart] });

interface Case {
  readonly server: Server;
  readonly io: (typeof ios)[number];
  readonly version: (typeof versions)[number];
  /** As cart, with what is changed. */
  readonly visit: (options?: tls.ConnectionOptions) => Promise<Visit>;
}

function onAll(
  name: string,
  run: (given: Case) => Promise<void>,
  config: DeepPartial<DownstreamTlsContext> = {},
): void {
  for (const io of ios) {
    for (const version of versions) {
      test(`${name} (${io.name}, ${version})`, async () => {
        const server = new Server(secretsOf(catalogCertificate), config);
        await server.listen(io);
        const base = { ...own(cartCertificate), minVersion: version, maxVersion: version };
        try {
          const as = (options?: tls.ConnectionOptions): Promise<Visit> =>
            visit(server, { ...base, ...options });
          await run({ server, io, version, visit: as });
        } finally {
          await server.close();
        }
      });
    }
  }
}

/** A served visit, whose session can be offered. */
async function first({ visit: go }: Case, options?: tls.ConnectionOptions): Promise<Buffer> {
  const { session, isResumed, isServed } = await go(options);
  assert.deepEqual({ isResumed, isServed }, { isResumed: false, isServed: true });
  assert.ok(session !== undefined, "no session was given");
  return session;
}

onAll("a client goes on from its session, and is who it was", async (given) => {
  const { server } = given;
  let session = await first(given);
  for (let i = 0; i < 3; i++) {
    const again = await given.visit({ session });
    assert.deepEqual([again.isResumed, again.isServed], [true, true]);
    session = again.session ?? session;
  }
  assert.deepEqual([server.counts.handshakes, server.counts.resumed], [4, 3]);
  const [full, resumed] = server.sessions;
  assert.deepEqual(resumed, full);
  assert.deepEqual(resumed?.peerUriSans, [cart]);
  assert.ok(resumed?.peerCertificateDer !== undefined);
});

onAll(
  "who it says it is on the way does not count: the session's certificate does",
  async (given) => {
    const other = await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/admin"] });
    const session = await first(given);
    const again = await given.visit({ session, ...own(other) });
    assert.equal(again.isResumed, true);
    assert.deepEqual(given.server.sessions.at(-1)?.peerUriSans, [cart]);
  },
);

onAll(
  "a session without a certificate does not open a chain that requires one",
  async (given) => {
    const { server } = given;
    const session = await first(given, { cert: "", key: "" });
    server.tls = server.chain({ requireClientCertificate: true });
    const again = await given.visit({ session, cert: "", key: "" });
    assert.equal(again.isServed, false);
    assert.deepEqual(server.counts.failures, ["no-certificate"]);
    assert.equal(server.counts.resumed, 0);
  },
  { requireClientCertificate: false },
);

onAll("a session of one filter chain is nothing to another", async (given) => {
  const { server } = given;
  const session = await first(given);
  for (const other of [
    server.chain({}, ["catalog"]),
    server.chain({ requireClientCertificate: false }),
    server.chain({ commonTlsContext: { ...sds, alpnProtocols: ["istio"] } }),
  ]) {
    server.tls = other;
    const again = await given.visit({ session });
    assert.deepEqual([again.isResumed, again.isServed], [false, true]);
  }
  server.tls = server.chain({});
  const equal = await given.visit({ session });
  assert.equal(equal.isResumed, true, "an equal chain, as after an update that changed nothing");
});

onAll("a session made under other trust anchors is judged anew", async (given) => {
  const { server } = given;
  const session = await first(given);
  server.secrets.set("ROOTCA", { kind: "validation", trustedCaPem: stranger.rootPem });
  const again = await given.visit({ session });
  assert.equal(again.isServed, false);
  assert.deepEqual(server.counts.failures, ["unknown-root"]);
});

onAll("a session is not resumed with another certificate of ours", async (given) => {
  const { server } = given;
  const session = await first(given);
  const renewed = await authority.issue({ uris: [catalog] });
  server.secrets.set("default", { kind: "certificate", ...renewed });
  const again = await given.visit({ session });
  assert.deepEqual([again.isResumed, again.isServed], [false, true]);
});

onAll("a client that may no longer come does not come by its session", async (given) => {
  const { server } = given;
  const session = await first(given);
  const onlyAdmin = { sanType: 3 as const, matcher: { exact: "spiffe://cluster.local/admin" } };
  server.tls = server.chain({
    commonTlsContext: {
      tlsCertificateSdsSecretConfigs: [{ name: "default" }],
      combinedValidationContext: {
        defaultValidationContext: { matchTypedSubjectAltNames: [onlyAdmin] },
        validationContextSdsSecretConfig: { name: "ROOTCA" },
      },
    },
  });
  const again = await given.visit({ session });
  assert.equal(again.isServed, false);
  assert.deepEqual(server.counts.failures, ["wrong-identity"]);
});

const ticketPeriodMs = 12 * hourMs;

onAll("a client whose certificate has expired since does not go on", async (given) => {
  const { server, io } = given;
  const session = await first(given);
  // Of the hour some minutes may be over: certificates are made when this file is loaded, with all others.
  // Keys of tickets change at noon and at midnight, and then nobody resumes on the portable backend.
  const keysLastMs = ticketPeriodMs - (Date.now() % ticketPeriodMs);
  server.aheadMs = Math.min(hourMs - 600_000, keysLastMs - 5000);
  assert.equal((await given.visit({ session })).isResumed, true, "some minutes before");
  server.aheadMs = hourMs + 60_000;
  const again = await given.visit({ session });
  const hasOtherKeys = server.aheadMs >= keysLastMs;
  // Of our clock only: OpenSSL, which judges full handshakes, has its own.
  if (io.name === "epoll") assert.deepEqual([again.isResumed, again.isServed], [false, true]);
  else if (hasOtherKeys) assert.equal(again.isResumed, false);
  else assert.deepEqual(server.counts.failures, ["expired"]);
  assert.equal(server.counts.resumed, 1);
});

onAll("a client that was refused has no use for what it was given", async (given) => {
  const { server } = given;
  const foreign = own(await stranger.issue({ uris: [cart] }));
  const refused = await given.visit(foreign);
  assert.equal(refused.isServed, false);
  if (refused.session !== undefined) {
    const again = await given.visit({ session: refused.session, ...foreign });
    assert.equal(again.isServed, false);
  }
  assert.ok(server.counts.failures.every((kind) => kind === "unknown-root"));
  assert.equal(server.counts.handshakes, 0);
});

onAll("a server name is told in lower case, however it was written", async (given) => {
  const { server } = given;
  await given.visit({ servername: "CataLog" });
  assert.deepEqual(
    server.sessions.map(({ sni }) => sni),
    ["catalog"],
  );
});

onAll("a session of one server name is not resumed under another", async (given) => {
  const { server } = given;
  const session = await first(given, { servername: "catalog" });
  const again = await given.visit({ session, servername: "admin" });
  assert.deepEqual([again.isResumed, again.isServed], [false, true]);
  assert.deepEqual(
    server.sessions.map(({ sni }) => sni),
    ["catalog", "admin"],
  );
});

onAll(
  "nothing is resumed where configuration says so",
  async (given) => {
    const { session, isServed } = await given.visit();
    assert.equal(isServed, true);
    if (session !== undefined) {
      assert.equal((await given.visit({ session })).isResumed, false);
    }
    assert.equal(given.server.counts.resumed, 0);
  },
  { disableStatelessSessionResumption: true },
);

onAll("servers with the same ticket keys open each other's", async (given) => {
  const [old, now] = [randomBytes(80), randomBytes(80)];
  const { server, io } = given;
  const keyed = (...keys: readonly Buffer[]): ServerTls =>
    server.chain({ sessionTicketKeys: { keys: keys.map((inlineBytes) => ({ inlineBytes })) } });
  server.tls = keyed(old);
  const session = await first(given);
  const another = new Server(secretsOf(await authority.issue({ uris: [catalog] })), {
    sessionTicketKeys: { keys: [{ inlineBytes: old }] },
  });
  await another.listen(io);
  try {
    const { minVersion, maxVersion } = { minVersion: given.version, maxVersion: given.version };
    const options = { ...own(cartCertificate), minVersion, maxVersion, session };
    assert.equal((await visit(another, options)).isResumed, true);
  } finally {
    await another.close();
  }
  server.tls = keyed(now, old);
  // Node's contexts have one key.
  assert.equal((await given.visit({ session })).isResumed, io.name === "epoll");
  server.tls = keyed(now);
  assert.equal((await given.visit({ session })).isResumed, false);
});

test("createServerTls() refuses ticket keys of another length, and none at all", () => {
  const server = new Server(secretsOf(catalogCertificate), {});
  const refuses = (keys: readonly Buffer[], reason: RegExp): void => {
    const inline = keys.map((inlineBytes) => ({ inlineBytes }));
    assert.throws(() => server.chain({ sessionTicketKeys: { keys: inline } }), reason);
  };
  refuses([randomBytes(48)], /a session ticket key has 48 bytes, not 80/);
  refuses([randomBytes(80), randomBytes(81)], /has 81 bytes/);
  refuses([], /holds no key/);
});

/** Our own client. */
class Client {
  readonly counts = new Counts();
  readonly secrets: FakeSecrets = secretsOf(cartCertificate);
  readonly #io: (typeof ios)[number];
  aheadMs = 0;

  constructor(io: (typeof ios)[number]) {
    this.#io = io;
  }

  context(config: DeepPartial<UpstreamTlsContext> = {}): ClientTls {
    const message = UpstreamTlsContext.fromPartial({
      sni: "catalog",
      commonTlsContext: sds,
      ...config,
    });
    const { secrets, counts } = this;
    return createClientTls(message, { secrets, log: silentLog, counters: counts });
  }

  /** One connection and one answer; true when it was resumed. */
  async ask(server: Server, clientTls: ClientTls): Promise<boolean> {
    const { resumed } = this.counts;
    const done = Promise.withResolvers<void>();
    const clock = { ...systemClock, nowMs: () => Date.now() + this.aheadMs };
    const dialler = openIo(this.#io.name, clock, silentLog).createDialler({ log: silentLog });
    const channel = dialler.dial({
      address: { address: "127.0.0.1", port: server.port },
      tls: clientTls,
      timeoutMs: 5_000,
      handler: {
        onData: () => done.resolve(),
        onEnd: () => {},
        onDrain: () => {},
        onClose: (error) => done.reject(new Error(error?.message ?? "closed")),
      },
      onConnect: (connected) => void connected.write(Buffer.from("?")),
    });
    await done.promise;
    channel.destroy();
    return this.counts.resumed > resumed;
  }
}

for (const io of ios) {
  for (const version of versions) {
    const tlsParams = {
      tlsMaximumProtocolVersion: version === "TLSv1.2" ? (3 as const) : (4 as const),
    };
    const commonTlsContext = { ...sds, tlsParams };

    test(`createClientTls() keeps a session for each server and name (${io.name}, ${version})`, async () => {
      const make = (): Promise<Server> => new Server(secretsOf(catalogCertificate), {}).listen(io);
      const [one, two] = [await make(), await make()];
      const client = new Client(io);
      // Node's servers give two tickets at first, and no other to who goes on with TLS 1.3.
      const context = client.context({ commonTlsContext, maxSessionKeys: 2 });
      try {
        assert.equal(await client.ask(one, context), false);
        assert.equal(await client.ask(one, context), true);
        assert.equal(await client.ask(two, context), false);
        assert.equal(await client.ask(two, context), true);
        assert.equal(await client.ask(one, context), true);
        assert.equal(one.sessions.length, one.counts.resumed + 1);
        assert.deepEqual(one.sessions.at(-1)?.peerUriSans, [cart]);
        const named = client.context({ sni: "other", commonTlsContext });
        assert.equal(await client.ask(one, named), false);
        const renewed = await authority.issue({ uris: [cart] });
        client.secrets.set("default", { kind: "certificate", ...renewed });
        assert.equal(await client.ask(one, context), false, "with a certificate of its own");
        assert.equal(await client.ask(one, context), true);
        client.aheadMs = hourMs + 60_000;
        assert.equal(await client.ask(one, context), false, "the server's has expired");
      } finally {
        await one.close();
        await two.close();
      }
    });

    test(`createClientTls() keeps none where max_session_keys is 0 (${io.name}, ${version})`, async () => {
      const server = await new Server(secretsOf(catalogCertificate), {}).listen(io);
      const client = new Client(io);
      const context = client.context({ commonTlsContext, maxSessionKeys: 0 });
      try {
        for (let i = 0; i < 3; i++) assert.equal(await client.ask(server, context), false);
      } finally {
        await server.close();
      }
    });
  }
}

test("createTlsCounters() counts resumed handshakes among all", () => {
  const metrics = createMetricRegistry();
  const counters = createTlsCounters(metrics, "envoy_listener", { listener_address: "l" });
  for (const isResumed of [false, true, true]) counters.onHandshake(isResumed);
  const text = metrics.expose();
  assert.match(text, /^envoy_listener_ssl_handshake(?:_total)?\{listener_address="l"\} 3$/m);
  assert.match(text, /^envoy_listener_ssl_session_reused(?:_total)?\{listener_address="l"\} 2$/m);
});
