/** Servers with several certificates, on both backends: how their choice follows secrets and names. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import net from "node:net";
import { test, type TestContext } from "node:test";
import tls from "node:tls";

import { FakeSecrets } from "../../test/support/secrets.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { makeTestAuthority, type TestCertificate } from "../../test/support/test-certificates.ts";
import { systemClock } from "../base/clock.ts";
import { DownstreamTlsContext } from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { Channel, ChannelError } from "./channel.ts";
import { OpenSsl } from "./epoll/native/openssl.ts";
import { openIo } from "./io-backend.ts";
import { startServerHandshake } from "./server-handshake.ts";
import type { TlsFailureKind } from "./tls/failure.ts";
import { createServerTls } from "./tls-contexts.ts";

const authority = await makeTestAuthority();
const issue = (key: "ec" | "rsa", name: string): Promise<TestCertificate> =>
  authority.issue({ dnsNames: [name], key });
const shop = await issue("ec", "shop.test");
const cart = await issue("ec", "cart.test");
const nextCart = await issue("ec", "cart.test");
const rsaCart = await issue("rsa", "cart.test");

function onBoth(
  name: string,
  run: (t: TestContext, io: ReturnType<typeof openIo>) => Promise<void>,
): void {
  for (const choice of ["portable", "epoll"] as const) {
    const io = openIo(choice, systemClock, silentLog);
    assert.equal(io.name, choice);
    test(`${name} (${choice})`, (t) => run(t, io));
  }
}

async function serve(
  t: TestContext,
  io: ReturnType<typeof openIo>,
  secrets: FakeSecrets,
  {
    names = ["one", "two"],
    crl,
    timeoutMs = 5000,
  }: { names?: string[]; crl?: string; timeoutMs?: number } = {},
) {
  const failures: TlsFailureKind[] = [];
  const server = createServerTls(
    DownstreamTlsContext.fromPartial({
      requireClientCertificate: crl !== undefined,
      commonTlsContext: {
        tlsCertificateSdsSecretConfigs: names.map((name) => ({ name })),
        ...(crl === undefined
          ? {}
          : {
              validationContext: {
                trustedCa: { inlineString: authority.rootPem },
                crl: { filename: crl },
              },
            }),
      },
    }),
    {
      secrets,
      log: silentLog,
      counters: { onHandshake: () => {}, onFailure: (kind) => failures.push(kind) },
    },
  );
  const ended: PromiseWithResolvers<Channel | ChannelError>[] = [];
  const listener = await io.listen({
    on: { kind: "address", address: "127.0.0.1", port: 0 },
    connectionsMax: 10,
    readsOriginalDestination: false,
    log: silentLog,
    onChannel: (channel) => {
      const end = Promise.withResolvers<Channel | ChannelError>();
      ended.push(end);
      // As a listener without filters: nothing was read, nobody has looked.
      startServerHandshake({
        channel,
        tls: server,
        first: Buffer.alloc(0),
        offeredAlpn: undefined,
        timeoutMs,
        clock: systemClock,
        log: silentLog,
        onSecure: (secured) => {
          t.after(() => secured.destroy());
          end.resolve(secured);
        },
        onFailure: end.resolve,
      });
    },
  });
  t.after(() => listener.close());
  const { port } = listener.address;
  return { port, failures, end: () => ended.at(-1)?.promise };
}

function shown(
  port: number,
  servername: string,
  more: tls.ConnectionOptions = {},
): Promise<string> {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, servername, rejectUnauthorized: false, ...more };
    const socket = tls.connect(options, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? "");
      socket.destroy();
    });
    socket.once("error", ({ message }) => resolve(message));
    socket.once("close", () => resolve("closed"));
  });
}

const print = ({ chainPem }: TestCertificate): string =>
  new X509Certificate(chainPem).fingerprint256;

onBoth("a certificate of several is changed alone, and taken away with all", async (t, io) => {
  const secrets = new FakeSecrets();
  secrets.set("one", { kind: "certificate", ...shop });
  const { port, end } = await serve(t, io, secrets);
  assert.notEqual(await shown(port, "shop.test"), print(shop), "one of them is not there yet");
  const refused = await end();
  assert.ok(refused !== undefined && "code" in refused);
  assert.equal(refused.code, "tls-no-secret");
  secrets.set("two", { kind: "certificate", ...cart });
  assert.equal(await shown(port, "shop.test"), print(shop));
  assert.equal(await shown(port, "cart.test"), print(cart));
  secrets.set("two", { kind: "certificate", ...nextCart });
  assert.equal(await shown(port, "cart.test"), print(nextCart));
  assert.equal(await shown(port, "shop.test"), print(shop));
  secrets.set("one", { kind: "certificate", ...rsaCart });
  assert.equal(await shown(port, "cart.test"), print(nextCart));
  assert.equal(await shown(port, "cart.test", { sigalgs: "rsa_pss_rsae_sha256" }), print(rsaCart));
  secrets.set("one", { kind: "certificate", chainPem: "broken", privateKeyPem: "broken" });
  assert.equal(
    await shown(port, "cart.test"),
    print(nextCart),
    "a broken one leaves all as they were",
  );
  secrets.remove("one");
  assert.notEqual(await shown(port, "cart.test"), print(nextCart));
});

onBoth("a session of one name is not gone on with under another", async (t, io) => {
  const secrets = new FakeSecrets();
  secrets.set("one", { kind: "certificate", ...shop });
  secrets.set("two", { kind: "certificate", ...cart });
  const { port } = await serve(t, io, secrets);
  const resumed = async (servername: string, session?: Buffer): Promise<[boolean, Buffer]> => {
    const socket = tls.connect({
      host: "127.0.0.1",
      port,
      servername,
      rejectUnauthorized: false,
      maxVersion: "TLSv1.2",
      ...(session === undefined ? {} : { session }),
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve).once("error", reject);
    });
    const found = [socket.isSessionReused(), socket.getSession() ?? Buffer.alloc(0)] as [
      boolean,
      Buffer,
    ];
    socket.destroy();
    return found;
  };
  const [, session] = await resumed("shop.test");
  assert.equal((await resumed("shop.test", session))[0], true);
  assert.equal((await resumed("cart.test", session))[0], false);
  const [, other] = await resumed("cart.test");
  assert.equal((await resumed("cart.test", other))[0], true);
});

onBoth("a name comes in pieces, or something else, or nothing", async (t, io) => {
  const secrets = new FakeSecrets();
  secrets.set("one", { kind: "certificate", ...shop });
  secrets.set("two", { kind: "certificate", ...cart });
  const { port, end } = await serve(t, io, secrets);
  const pieces = net.createServer((client) => {
    const upstream = net.connect(port, "127.0.0.1");
    upstream.setNoDelay(true);
    client.on("data", (chunk: Buffer) => {
      for (const byte of chunk) upstream.write(Uint8Array.of(byte));
    });
    upstream.pipe(client);
    for (const socket of [client, upstream]) {
      socket
        .on("error", () => {})
        .on("close", () => {
          client.destroy();
          upstream.destroy();
        });
    }
  });
  await new Promise<void>((resolve) => pieces.listen(0, "127.0.0.1", resolve));
  t.after(() => pieces.close());
  const { port: piecesPort } = pieces.address() as net.AddressInfo;
  assert.equal(await shown(piecesPort, "cart.test"), print(cart));
  const failed = async (send: string, isEnded: boolean): Promise<ChannelError> => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(send);
    if (isEnded) socket.end();
    await new Promise((resolve) => socket.resume().once("close", resolve));
    const found = await end();
    assert.ok(found !== undefined && "code" in found);
    return found;
  };
  assert.equal((await failed("GET / HTTP/1.1\r\n\r\n", false)).code, "tls-plaintext");
  assert.equal((await failed("\x16\x03\x01\x02\x00\x01", true)).code, "tls-closed");
});

onBoth("a name that does not come in time is waited for no longer", async (t, io) => {
  const secrets = new FakeSecrets();
  secrets.set("one", { kind: "certificate", ...shop });
  secrets.set("two", { kind: "certificate", ...cart });
  const { port, failures } = await serve(t, io, secrets, { timeoutMs: 50 });
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  await new Promise((resolve) => socket.resume().once("close", resolve));
  assert.deepEqual(failures, ["timeout"]);
});

onBoth(
  "a list in a file is asked for by its name, and nobody gets in without it",
  async (t, io) => {
    const client = await authority.issue({ commonName: "client" });
    const secrets = new FakeSecrets();
    secrets.set("one", { kind: "certificate", ...shop });
    const list = "/etc/heddle/taken-back.pem";
    const { port, end } = await serve(t, io, secrets, { names: ["one"], crl: list });
    const come = async (): Promise<string> => {
      const credentials = { cert: client.chainPem, key: client.privateKeyPem };
      const socket = tls.connect({
        host: "127.0.0.1",
        port,
        rejectUnauthorized: false,
        ...credentials,
      });
      socket.on("error", () => {});
      t.after(() => socket.destroy());
      await new Promise((resolve) => socket.once("secureConnect", resolve).once("close", resolve));
      const found = await end();
      return found === undefined || "code" in found ? (found?.code ?? "") : "in";
    };
    assert.equal(await come(), "tls-no-secret");
    secrets.set(`file-crl:${list}`, {
      kind: "revocations",
      crlPem: await authority.revoke([cart]),
    });
    assert.equal(await come(), "in");
    secrets.set(`file-crl:${list}`, {
      kind: "revocations",
      crlPem: await authority.revoke([client]),
    });
    assert.equal(await come(), "tls-bad-certificate");
    // As long as those of large authorities are.
    const long = await authority.revoke([cart]);
    secrets.set(`file-crl:${list}`, {
      kind: "revocations",
      crlPem: `${"of whom\n".repeat(50_000)}${long}`,
    });
    assert.equal(await come(), "in");
  },
);

test("what OpenSSL refuses when a connection comes closes it at once", async (t) => {
  const io = openIo("epoll", systemClock, silentLog);
  const refused = t.mock.method(OpenSsl.prototype, "createContext", () => {
    throw new Error("refused");
  });
  const secrets = new FakeSecrets();
  const certificate = await issue("ec", "refused.test");
  secrets.set("one", { kind: "certificate", ...certificate });
  const { port, failures } = await serve(t, io, secrets, { names: ["one"], timeoutMs: 0 });
  assert.notEqual(await shown(port, "refused.test"), print(certificate));
  assert.deepEqual(failures, ["closed"]);
  refused.mock.restore();
  assert.equal(await shown(port, "refused.test"), print(certificate));
});
