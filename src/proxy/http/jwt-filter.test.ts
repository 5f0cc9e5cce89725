import assert from "node:assert/strict";
import { test } from "node:test";

import { type HarnessOptions, HttpHarness } from "../../../test/support/http-harness.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { jwkOf, makeKey, signToken } from "../../../test/support/tokens.ts";
import {
  type JwksAsyncFetch,
  JwtAuthentication,
  type JwtProvider,
} from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";

const typeUrl = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const key = makeKey("k", "P-256");
const otherKey = makeKey("k", "P-256");
const keySet = JSON.stringify({ keys: [jwkOf(key)] });
const answer = (body: string, status = "200 OK"): string =>
  `HTTP/1.1 ${status}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const seconds = (count: number): { seconds: bigint; nanos: number } => ({
  seconds: BigInt(count),
  nanos: 0,
});

const remoteProvider: Fields<JwtProvider> = {
  issuer: "me",
  remoteJwks: {
    httpUri: { uri: "https://me.test/keys", cluster: "app", timeout: seconds(1) },
    cacheDuration: seconds(60),
  },
};

function harness(provider: Fields<JwtProvider> = remoteProvider): HttpHarness {
  const fields: Fields<JwtAuthentication> = {
    providers: { p: provider },
    rules: [{ match: { prefix: "/" }, requires: { providerName: "p" } }],
  };
  const filters: HarnessOptions["filters"] = [
    { typeUrl, value: JwtAuthentication.encode(message(JwtAuthentication, fields)).finish() },
  ];
  return new HttpHarness({ filters });
}

/** Answers every request that has come to the endpoint; what was asked for. */
function serve(mesh: HttpHarness, answers: Readonly<Record<string, string>> = {}): string[] {
  const paths: string[] = [];
  for (let at = 0; at < mesh.upstreams.length; at++) {
    const upstream = mesh.upstream(at);
    const path = upstream.take().split(" ", 2)[1];
    if (path === undefined) continue;
    paths.push(path);
    upstream.send(answer(answers[path] ?? "hi"));
  }
  return paths;
}

const token = signToken(key, "ES256", { iss: "me" });
const get = `GET /a HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer ${token}\r\n\r\n`;

test("jwt_authn: a token that was taken out of the query is in no redirect", () => {
  const provider = { issuer: "me", localJwks: { inlineString: keySet }, fromParams: ["tok"] };
  const fields: Fields<JwtAuthentication> = {
    providers: { p: provider },
    rules: [{ match: { prefix: "/" }, requires: { providerName: "p" } }],
  };
  const value = JwtAuthentication.encode(message(JwtAuthentication, fields)).finish();
  const routes: Fields<RouteConfiguration> = {
    virtualHosts: [
      {
        name: "all",
        domains: ["*"],
        routes: [
          { match: { prefix: "/moved" }, redirect: { hostRedirect: "new" } },
          { match: { prefix: "/" }, directResponse: { status: 302 } },
        ],
      },
    ],
  };
  const mesh = new HttpHarness({
    filters: [{ typeUrl, value }],
    routes: message(RouteConfiguration, routes),
  });
  const client = mesh.connect();
  client.send(`GET /moved?a=1&tok=${token}&b=2 HTTP/1.1\r\nhost: old\r\n\r\n`);
  assert.match(client.take(), /^HTTP\/1\.1 301 [^]*\r\nlocation: http:\/\/new\/moved\?a=1&b=2\r\n/);
  client.send(`GET /told?tok=${token}&b=2 HTTP/1.1\r\nhost: old\r\n\r\n`);
  assert.match(client.take(), /^HTTP\/1\.1 302 [^]*\r\nlocation: http:\/\/old\/told\?b=2\r\n/);
});

test("jwt_authn: requests wait for one answer, and go on with it", () => {
  const mesh = harness();
  const clients = [mesh.connect(), mesh.connect()];
  for (const client of clients) client.send(get);
  assert.equal(mesh.upstreams.length, 1, "one fetch for both");
  const keys = mesh.upstream();
  assert.match(keys.take(), /^GET \/keys HTTP\/1\.1\r\nhost: me\.test\r\n/);
  keys.send(answer(keySet));
  serve(mesh);
  serve(mesh);
  for (const client of clients) assert.match(client.take(), /^HTTP\/1\.1 200 [^]*hi$/);
  mesh.connect().send(get);
  assert.deepEqual(serve(mesh), ["/a"], "keys are kept");
});

test("jwt_authn: a request is denied when keys do not come", () => {
  const unwanted: readonly ((mesh: HttpHarness) => void)[] = [
    (mesh) => mesh.refuse(),
    (mesh) => mesh.clock.advance(1_100),
    (mesh) => mesh.upstream().send(answer("no", "500 Internal Server Error")),
    (mesh) => mesh.upstream().send(answer("no")),
    (mesh) => mesh.upstream().send(answer('{"keys":[]}')),
  ];
  for (const happens of unwanted) {
    const mesh = harness();
    const client = mesh.connect();
    client.send(get);
    happens(mesh);
    assert.match(client.take(), /^HTTP\/1\.1 401 [^]*Jwks remote fetch is failed$/);
    assert.equal(mesh.log[0]?.details, "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}");
    client.send(get);
    mesh.upstreams.splice(0, mesh.upstreams.length - 1);
    serve(mesh, { "/keys": keySet });
    serve(mesh);
    assert.match(client.take(), /hi$/, "the next request asks again");
  }
});

test("jwt_authn: keys for who is gone touch nobody else", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send(get);
  client.close();
  assert.equal(mesh.log[0]?.flags, "DC");
  const keys = mesh.upstream();
  keys.send(answer(keySet));
  assert.equal(mesh.upstreams.length, 1);
  assert.equal(mesh.log.length, 1);
});

test("jwt_authn: a request that waits for too long is answered once", () => {
  const mesh = new HttpHarness({
    manager: { streamIdleTimeout: { seconds: 0n, nanos: 500_000_000 } },
    filters: [
      {
        typeUrl,
        value: JwtAuthentication.encode(
          message(JwtAuthentication, {
            providers: { p: remoteProvider },
            rules: [{ match: { prefix: "/" }, requires: { providerName: "p" } }],
          }),
        ).finish(),
      },
    ],
  });
  const client = mesh.connect();
  client.send(get);
  mesh.clock.advance(600);
  assert.match(client.take(), /^HTTP\/1\.1 504/);
  mesh.upstream().send(answer(keySet));
  assert.equal(client.take(), "");
  client.send(get);
  mesh.upstream().send(answer("hi"));
  assert.match(client.take(), /hi$/);
});

test("jwt_authn: keys are asked for anew when their time is over", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send(get);
  mesh.upstream().send(answer(keySet));
  mesh.upstream().send(answer("hi"));
  client.take();
  mesh.clock.advance(61_000);
  client.send(get);
  mesh.upstream().send(answer(JSON.stringify({ keys: [jwkOf(otherKey)] })));
  assert.match(client.take(), /Jwt verification fails$/, "a token that was known is not any more");
});

/** A provider whose keys are fetched ahead of requests. */
const ahead = (asyncFetch: Fields<JwksAsyncFetch> = {}): Fields<JwtProvider> => ({
  ...remoteProvider,
  remoteJwks: { ...remoteProvider.remoteJwks, asyncFetch },
});

test("jwt_authn: keys come ahead of requests, and again, while old ones serve", () => {
  const mesh = harness(ahead({ failedRefetchDuration: seconds(3) }));
  const told: string[] = [];
  assert.equal(
    mesh.begin(() => told.push("begun")),
    true,
  );
  assert.equal(
    mesh.begin(() => told.push("begun twice")),
    false,
  );
  assert.deepEqual(told, []);
  assert.deepEqual(serve(mesh, { "/keys": keySet }), ["/keys"]);
  assert.deepEqual(told, ["begun"]);
  const client = mesh.connect();
  const passes = (): void => {
    client.send(get);
    assert.deepEqual(serve(mesh), ["/a"]);
    assert.match(client.take(), /hi$/);
  };
  passes();
  mesh.clock.advance(54_900);
  assert.deepEqual(serve(mesh), []);
  mesh.clock.advance(200);
  assert.deepEqual(serve(mesh, { "/keys": "no keys" }), ["/keys"], "5 s before their end");
  mesh.clock.advance(2_900);
  assert.deepEqual(serve(mesh), []);
  mesh.clock.advance(200);
  for (let at = 0; at < 3; at++) {
    assert.deepEqual(serve(mesh, { "/keys": "no keys" }), ["/keys"]);
    mesh.clock.advance(3_100);
  }
  assert.deepEqual(serve(mesh, { "/keys": "no keys" }), ["/keys"]);
  // Their time is over, but nobody has others.
  passes();
  mesh.retire();
  mesh.clock.advance(60_000);
  assert.deepEqual(serve(mesh), [], "nobody needs them any more");
});

test("jwt_authn: nobody waits for keys that do not come, or that nobody shall wait for", () => {
  const gone = harness(ahead());
  let begun = 0;
  assert.equal(
    gone.begin(() => void begun++),
    true,
  );
  gone.refuse();
  assert.equal(begun, 1);
  const client = gone.connect();
  client.send(get);
  gone.upstreams.splice(0, gone.upstreams.length - 1);
  serve(gone, { "/keys": keySet });
  serve(gone);
  assert.match(client.take(), /hi$/, "the first request asks");
  const fast = harness(ahead({ fastListener: true }));
  assert.equal(
    fast.begin(() => void begun++),
    false,
  );
  assert.deepEqual(serve(fast, { "/keys": keySet }), ["/keys"]);
  assert.equal(begun, 1);
  assert.equal(
    harness().begin(() => void begun++),
    false,
  );
});

test("jwt_authn: asks again for keys as often as it is told, and no more", () => {
  const mesh = harness({
    ...remoteProvider,
    remoteJwks: { ...remoteProvider.remoteJwks, retryPolicy: { numRetries: 2 } },
  });
  const client = mesh.connect();
  client.send(get);
  // Half of one second, and half of two.
  for (const [tries, waitMs] of [520, 1_020, 0].entries()) {
    assert.equal(client.take(), "");
    assert.equal(mesh.upstreams.length, tries + 1);
    mesh.refuse();
    mesh.clock.advance(waitMs);
  }
  assert.match(client.take(), /Jwks remote fetch is failed$/);
  assert.equal(mesh.upstreams.length, 3);
});

test("jwt_authn: of more tokens than anybody sends none is verified", () => {
  const local: Fields<JwtProvider> = {
    issuer: "me",
    localJwks: { inlineString: keySet },
    fromHeaders: [{ name: "x-token" }],
  };
  for (const [count, status] of [
    [16, ""],
    [17, "401"],
  ] as const) {
    const mesh = harness(local);
    const client = mesh.connect();
    client.send(`GET /a HTTP/1.1\r\nhost: a\r\n${`x-token: ${token}\r\n`.repeat(count)}\r\n`);
    assert.equal(/^HTTP\/1\.1 (\d+)/.exec(client.take())?.[1] ?? "", status);
  }
});

test("jwt_authn: counts requests, keys and signatures", () => {
  const mesh = harness();
  const client = mesh.connect();
  const send = (text: string): void => {
    client.send(text);
    for (let round = 0; round < 3; round++) serve(mesh, { "/keys": keySet });
  };
  for (const text of [get, get, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"]) send(text);
  const counts = [...mesh.metrics.expose().matchAll(/^envoy_http_jwt_authn_(\w+)\{.*\} (\d+)$/gm)];
  assert.deepEqual(counts.map(([, name, value]) => `${name ?? ""} ${value ?? ""}`).toSorted(), [
    "allowed 2",
    "cors_preflight_bypassed 0",
    "denied 1",
    "jwks_fetch_failed 0",
    "jwks_fetch_success 1",
    "jwt_cache_hit 1",
    "jwt_cache_miss 1",
  ]);
});

test("jwt_authn: refuses configurations that it cannot honour", () => {
  const refused: readonly (readonly [Fields<JwtProvider>, RegExp])[] = [
    [{ issuer: "me" }, /providers\[p\]: names no keys/],
    [{ localJwks: { inlineString: "{}" } }, /local_jwks: is no key set/],
    [{ localJwks: { filename: "/keys" } }, /local_jwks\.filename: is not supported/],
    [{ ...remoteProvider, forwardPayloadHeader: "Content-Length" }, /forward_payload_header/],
    [
      { ...remoteProvider, claimToHeaders: [{ headerName: ":path", claimName: "sub" }] },
      /claim_to_headers\[0\]\.header_name/,
    ],
    [{ remoteJwks: { httpUri: { uri: "keys", cluster: "app" } } }, /http_uri\.uri/],
  ];
  for (const [provider, reason] of refused) {
    assert.throws(() => harness(provider), { code: "xds.refused", message: reason });
  }
});
