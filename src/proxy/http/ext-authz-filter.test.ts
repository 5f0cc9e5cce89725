import assert from "node:assert/strict";
import { test } from "node:test";

import {
  type HarnessOptions,
  HttpHarness,
  routesToApp,
} from "../../../test/support/http-harness.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import {
  ExtAuthz,
  ExtAuthzPerRoute,
} from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { compileExtAuthzOverride } from "./ext-authz-filter.ts";

const typeUrl = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
const get = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const yes = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const hi = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const httpService = {
  serverUri: { uri: "http://a", cluster: "app", timeout: { seconds: 0n, nanos: 500_000_000 } },
  pathPrefix: "/check",
};

/** The service and the application are the same endpoint; paths tell them apart. */
function harness(fields: Fields<ExtAuthz> = {}, more: Partial<HarnessOptions> = {}): HttpHarness {
  const config = message(ExtAuthz, { httpService, ...fields });
  return new HttpHarness({
    filters: [{ typeUrl, value: ExtAuthz.encode(config).finish() }],
    ...more,
  });
}

/** What was sent last, and on which connection: the service's serves the application, too. */
function next(mesh: HttpHarness): { readonly text: string; send(answer: string): void } {
  for (let at = mesh.upstreams.length - 1; at >= 0; at--) {
    const upstream = mesh.upstream(at);
    const text = upstream.take();
    if (text !== "") return { text, send: (answer) => upstream.send(answer) };
  }
  throw new Error("nothing was sent");
}

test("ext_authz: a request waits, and passes", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send(get);
  assert.match(mesh.upstream().take(), /^GET \/check\/a HTTP\/1\.1\r\nhost: shop\r\n/);
  mesh.upstream().send(yes);
  assert.equal(client.take(), "");
  assert.match(mesh.upstream(0).take(), /^GET \/a /);
  mesh.upstream(0).send(hi);
  assert.match(client.take(), /hi$/);
});

test("ext_authz: without an answer a request is denied, in every way that can happen", () => {
  const unwanted: readonly ((mesh: HttpHarness) => void)[] = [
    (mesh) => mesh.refuse(),
    (mesh) => mesh.upstream().close(),
    (mesh) => mesh.clock.advance(600),
    (mesh) => mesh.upstream().send("garbage\r\n\r\n"),
    (mesh) => mesh.upstream().send("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
    (mesh) => mesh.upstream().send("HTTP/1.1 101 Switching\r\n\r\n"),
    (mesh) => mesh.upstream().send(`HTTP/1.1 200 OK\r\n\r\n${"a".repeat(1024 * 1024 + 1)}`),
  ];
  for (const [at, happens] of unwanted.entries()) {
    const mesh = harness();
    const client = mesh.connect();
    client.send(get);
    happens(mesh);
    assert.match(client.take(), /^HTTP\/1\.1 403 /, String(at));
    assert.deepEqual([mesh.log[0]?.flags, mesh.log[0]?.details], ["UAEX", "ext_authz_error"]);
  }
  const missing = harness({ httpService: { ...httpService, serverUri: { cluster: "none" } } });
  const client = missing.connect();
  client.send(get);
  assert.match(client.take(), /^HTTP\/1\.1 403 /);
});

test("ext_authz: a denial is one by its head, however much follows it, or does not", () => {
  const ends: readonly (readonly [body: string, happens: (mesh: HttpHarness) => void])[] = [
    ["a".repeat(1024 * 1024 + 1), () => {}],
    ["a", (mesh) => mesh.upstream().close()],
    ["a", (mesh) => mesh.clock.advance(600)],
  ];
  for (const [body, happens] of ends) {
    const bytes = Math.min(body.length, 1024 * 1024);
    const mesh = harness({ failureModeAllow: true });
    const client = mesh.connect();
    client.send(get);
    const head = "HTTP/1.1 403 No\r\ncontent-length: 9999999\r\nx-reason: rude\r\n\r\n";
    mesh.upstream().send(head + body);
    happens(mesh);
    const answer = client.take();
    assert.match(answer, /^HTTP\/1\.1 403 [^]*x-reason: rude\r\n/);
    assert.match(answer, new RegExp(`\r\ncontent-length: ${bytes}\r\n`));
    assert.deepEqual([mesh.log[0]?.flags, mesh.log[0]?.details], ["UAEX", "ext_authz_denied"]);
    assert.equal(mesh.upstreams.length, 1, "nothing passes");
  }
});

test("ext_authz: an answer for who is gone touches nobody", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send(get);
  const service = mesh.upstream();
  client.close();
  assert.equal(service.isClosed, true, "nobody waits for it any more");
  assert.equal(mesh.log[0]?.flags, "DC");
  assert.equal(mesh.upstreams.length, 1);
  assert.equal(mesh.endpoints[0]?.active, 0);
});

test("ext_authz: a stream that has waited for too long is answered once", () => {
  const mesh = harness({}, { manager: { streamIdleTimeout: { seconds: 0n, nanos: 200_000_000 } } });
  const client = mesh.connect();
  client.send(get);
  mesh.clock.advance(300);
  assert.match(client.take(), /^HTTP\/1\.1 504/);
  mesh.clock.advance(1_000);
  assert.equal(client.take(), "");
  client.send(get);
  next(mesh).send(yes);
  next(mesh).send(hi);
  assert.match(client.take(), /hi$/);
});

test("ext_authz: a drained proxy still answers who waits", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send(get);
  mesh.retire();
  mesh.closeIdle(0);
  next(mesh).send(yes);
  next(mesh).send(hi);
  assert.match(client.take(), /\r\nconnection: close\r\n[^]*hi$/);
});

test("ext_authz: a client is stopped while more of its body than may be kept waits", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send(`POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n${"a".repeat(5000)}`);
  assert.equal(client.isPaused, true);
  next(mesh).send(yes);
  assert.equal(client.isPaused, false);
  client.send("a".repeat(4000));
  assert.equal(next(mesh).text.split("\r\n\r\n").at(-1)?.length, 9000);
});

test("ext_authz: what is asked about may be more than is kept otherwise", () => {
  const mesh = harness({ withRequestBody: { maxRequestBytes: 8_000 } });
  const client = mesh.connect();
  client.send(`POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 7000\r\n\r\n${"a".repeat(5000)}`);
  assert.equal(client.isPaused, false);
  assert.equal(mesh.upstreams.length, 0, "nothing is asked before all is there");
  client.send("a".repeat(2000));
  assert.match(mesh.upstream().take(), /\r\ncontent-length: 7000\r\n/);
});

test("ext_authz: the service says nothing of how the request is framed, or whom it is for", () => {
  const everything = { patterns: [{ prefix: "" }] };
  const mesh = harness({
    httpService: {
      ...httpService,
      authorizationResponse: {
        allowedUpstreamHeaders: everything,
        allowedUpstreamHeadersToAppend: everything,
        allowedClientHeadersOnSuccess: everything,
      },
    },
  });
  const client = mesh.connect();
  client.send("POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
  next(mesh).send(
    "HTTP/1.1 200 OK\r\nx-a: 1\r\nhost: evil\r\ntransfer-encoding: chunked\r\nconnection: x-b\r\n\r\n0\r\n\r\n",
  );
  const application = next(mesh);
  const asked = application.text;
  assert.match(asked, /^POST \/a HTTP\/1\.1\r\nhost: shop\r\n/);
  assert.match(asked, /\r\nx-a: 1\r\n/);
  assert.doesNotMatch(asked, /evil|transfer-encoding|connection/);
  assert.equal(asked.match(/content-length/g)?.length, 1);
  application.send(hi);
  const answer = client.take();
  assert.doesNotMatch(answer, /evil|transfer-encoding/);
  assert.equal(answer.match(/content-length/g)?.length, 1);
});

test("ext_authz: a CONNECT, which has no path, is denied unasked", () => {
  const mesh = harness(
    {},
    {
      manager: { upgradeConfigs: [{ upgradeType: "CONNECT" }] },
      routes: {
        ...routesToApp(),
        virtualHosts: [
          {
            name: "all",
            domains: ["*"],
            routes: [{ match: { connectMatcher: {} }, route: { cluster: "app" } }],
          },
        ],
      } as never,
    },
  );
  const client = mesh.connect();
  client.send("CONNECT shop:80 HTTP/1.1\r\nhost: shop:80\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 403 /);
  assert.equal(mesh.upstreams.length, 0);
});

test("ext_authz: asks for its share of requests", () => {
  const filterEnabled = { defaultValue: { numerator: 50 }, runtimeKey: "" };
  for (const [denyAtDisable, status] of [
    [false, ""],
    [true, "403"],
  ] as const) {
    const mesh = harness({
      filterEnabled,
      denyAtDisable: { defaultValue: denyAtDisable, runtimeKey: "k" },
    });
    mesh.random = 0.6;
    const client = mesh.connect();
    client.send(get);
    assert.equal(/^HTTP\/1\.1 (\d+)/.exec(client.take())?.[1] ?? "", status);
    if (!denyAtDisable) assert.match(mesh.upstream().take(), /^GET \/a /);
    mesh.random = 0.4;
    mesh.connect().send(get);
    assert.match(mesh.upstream().take(), /^GET \/check\/a /);
  }
});

test("ext_authz: counts what came of its questions", () => {
  const answers = [
    yes,
    "HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
  ];
  const mesh = harness({
    failureModeAllow: true,
    statPrefix: "own",
    filterEnabled: { defaultValue: { numerator: 50 }, runtimeKey: "" },
  });
  mesh.random = 0.4;
  for (const answer of answers) {
    mesh.connect().send(get);
    next(mesh).send(answer);
  }
  mesh.random = 0.6;
  mesh.connect().send(get);
  const counts = Object.fromEntries(
    [...mesh.metrics.expose().matchAll(/^envoy_http_ext_authz_(\w+)\{(.*)\} (\d+)$/gm)].map(
      ([, name, labels, value]) => [`${name ?? ""} ${labels ?? ""}`, Number(value)],
    ),
  );
  const labels = 'ext_authz_prefix="own",http_conn_manager_prefix="test"';
  assert.deepEqual(counts, {
    [`denied ${labels}`]: 1,
    [`disabled ${labels}`]: 1,
    [`error ${labels}`]: 1,
    [`failure_mode_allowed ${labels}`]: 1,
    [`ignored_dynamic_metadata ${labels}`]: 0,
    [`invalid ${labels}`]: 0,
    [`ok ${labels}`]: 1,
  });
  const ofCluster = mesh.metrics.expose().match(/^envoy_cluster_ext_authz_\w+\{.*\} 1$/gm);
  assert.deepEqual(
    ofCluster?.map((line) => /authz_(\w+)\{.*cluster_name="app"/.exec(line)?.[1]).toSorted(),
    ["denied", "error", "failure_mode_allowed", "ok"],
  );
});

test("ext_authz: refuses configurations that it cannot honour", () => {
  const refused: readonly (readonly [Fields<ExtAuthz>, RegExp])[] = [
    [{ httpService: undefined }, /names no service/],
    [{ grpcService: { googleGrpc: {} } }, /grpc_service\.google_grpc: is not supported/],
    [{ grpcService: { envoyGrpc: {} } }, /cluster_name: is required/],
    [{ httpService: { serverUri: { cluster: "" } } }, /server_uri\.cluster/],
    [{ httpService: { ...httpService, pathPrefix: "check" } }, /path_prefix/],
    [{ httpService: { ...httpService, pathOverride: "x" } }, /path_override: must begin/],
    [
      { httpService: { ...httpService, pathPrefix: "/a", pathOverride: "/x" } },
      /path_override: stands beside path_prefix/,
    ],
    [{ httpService: { ...httpService, retryPolicy: { retryPriority: {} } } }, /retry_priority/],
    [{ withRequestBody: {} }, /max_request_bytes/],
    [{ shadowMode: true }, /shadow_mode/],
    [{ typedMetadataContextNamespaces: ["a"] }, /metadata_context_namespaces/],
  ];
  for (const [fields, reason] of refused) {
    assert.throws(() => harness(fields), { code: "xds.refused", message: reason });
  }
  const perRoute = (fields: Fields<ExtAuthzPerRoute>) => () =>
    compileExtAuthzOverride(
      ExtAuthzPerRoute.encode(message(ExtAuthzPerRoute, fields)).finish(),
      "p",
    );
  assert.throws(perRoute({}), /p: needs disabled/);
  assert.throws(
    perRoute({ checkSettings: { httpService: { serverUri: {} } } }),
    /check_settings\.http_service\.server_uri\.cluster: is required/,
  );
  assert.throws(
    perRoute({
      checkSettings: {
        httpService: { ...httpService, authorizationRequest: { allowedHeaders: {} } },
      },
    }),
    /authorization_request\.allowed_headers: is not supported/,
  );
  assert.throws(
    perRoute({
      checkSettings: { disableRequestBodyBuffering: true, withRequestBody: { maxRequestBytes: 1 } },
    }),
    /with_request_body/,
  );
});

test("ext_authz: what a service adds counts to the limits of a head", () => {
  const lists = { allowedUpstreamHeaders: { patterns: [{ prefix: "x-" }] } };
  const large = (bytes: number): string => `x-large: ${"a".repeat(bytes)}\r\n`;
  const many = (count: number): string =>
    Array.from({ length: count }, (_, i) => `x-${i}: 1\r\n`).join("");
  for (const [header, status] of [
    [large(31_000), 500],
    [many(80), 500],
    [large(29_000) + many(60), 200],
  ] as const) {
    const mesh = harness({
      httpService: { ...httpService, authorizationResponse: lists } as never,
      failureModeAllow: true,
    });
    const client = mesh.connect();
    client.send(
      `GET /a HTTP/1.1\r\nhost: shop\r\ny: ${"a".repeat(31_000)}\r\n${"z: 1\r\n".repeat(20)}\r\n`,
    );
    next(mesh).send(`HTTP/1.1 200 OK\r\n${header}content-length: 0\r\n\r\n`);
    if (status === 200) next(mesh).send(hi);
    assert.equal(client.take().slice(9, 12), String(status));
    const details = status === 200 ? "via_upstream" : "ext_authz_invalid";
    assert.equal(mesh.log[0]?.details, details);
  }
});

test("ext_authz: a service takes nothing away that says where a request ends", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send("POST /a HTTP/1.1\r\nhost: shop\r\nx-a: 1\r\ncontent-length: 3\r\n\r\nabc");
  const names = "content-length, transfer-encoding, x-a";
  const removal = `x-envoy-auth-headers-to-remove: ${names}`;
  next(mesh).send(`HTTP/1.1 200 OK\r\n${removal}\r\ncontent-length: 0\r\n\r\n`);
  const { text } = next(mesh);
  assert.match(text, /content-length: 3\r\n/);
  assert.doesNotMatch(text, /x-a/);
});
