/**
 * What routes match on beside paths, over one file, under Heddle's data plane (both I/O backends, and data
 * workers) and under Envoy: certificates that were shown or found valid, fields that are not ASCII, hosts with
 * ports; and listeners that nobody can connect to.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { makeTestAuthority, type TestCertificate } from "../../support/test-certificates.ts";
import { type PlaneName, planeNames, type Planes, type Ports, startPlanes } from "./planes.ts";

const names = ["plain", "known", "anybody", "unbound"] as const;
type Name = (typeof names)[number];

const authority = await makeTestAuthority();
const stranger = await makeTestAuthority("somebody else");
const own = await authority.issue({ dnsNames: ["own.test"] });
const clients: Readonly<Record<string, TestCertificate | undefined>> = {
  "a friend": await authority.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b"] }),
  "a friend without a URI": await authority.issue({ dnsNames: ["friend.test"] }),
  "a stranger": await stranger.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b"] }),
  nobody: undefined,
};

const route = (name: string, match: string): string =>
  `{match: {path: /tls, tls_context: {${match}}}, direct_response: {status: 200, body: {inline_string: "${name}"}}}`;
const answered = (name: string, matcher: string): string =>
  `{match: {prefix: /text, headers: [{name: x-text, string_match: {${matcher}}}]}, direct_response: {status: 200, body: {inline_string: "${name}"}}}`;

/** Some of which Envoy joins the lines as it reads them. */
const listedNames =
  "accept accept-encoding accept-language access-control-request-method access-control-request-headers access-control-request-private-network age authorization cache-control content-encoding content-language content-type date dnt etag expires forwarded from grpc-accept-encoding grpc-message grpc-status grpc-timeout if-match if-modified-since if-none-match if-range if-unmodified-since last-modified origin pragma range referer tracestate user-agent vary via warning x-b3-traceid x-client-trace-id x-envoy-max-retries x-envoy-original-path x-envoy-retry-on x-real-ip x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id".split(
    " ",
  );

const routes = [
  route("valid", "presented: true, validated: true"),
  route("shown", "presented: true, validated: false"),
  route("contradiction", "presented: false, validated: true"),
  route("none", "presented: false, validated: false"),
  answered("exact", "exact: größe"),
  answered("folded", "exact: STRAßE, ignore_case: true"),
  answered("prefix", "prefix: ü-"),
  answered("suffix", "suffix: -€"),
  answered("contains", "contains: ☃"),
  answered("one letter", 'safe_regex: {regex: "<.>"}'),
  answered("two letters", 'safe_regex: {regex: "<..>"}'),
  answered("no letter", 'safe_regex: {regex: "=[^a]="}'),
  answered("letters", 'safe_regex: {regex: "[ä-ü]+"}'),
  ...listedNames.map(
    (name) =>
      `{match: {prefix: /of-${name}, headers: [{name: ${name}, string_match: {exact: one}}]}, direct_response: {status: 200, body: {inline_string: matched}}}`,
  ),
  "{match: {prefix: /inverted, headers: [{name: x-text, string_match: {exact: größe}, invert_match: true}]}, direct_response: {status: 200, body: {inline_string: inverted}}}",
  `{match: {prefix: /told}, direct_response: {status: 200}, response_headers_to_add: [{header: {key: x-own, value: "Grüße an %REQ(x-text)% ☃"}}, {header: {key: x-cut, value: "%REQ(x-text):3%"}}, {header: {key: x-literal, value: "naïve"}}]}`,
  ...["1", "1,2", " 1", "1 "].map(
    (value) =>
      `{match: {prefix: /cookie, cookies: [{name: sess, string_match: {exact: "${value}"}}]}, direct_response: {status: 200, body: {inline_string: "<${value}>"}}}`,
  ),
  `{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: rest}}}`,
];

function bootstrap(ports: Ports<Name>): string {
  const type = "type.googleapis.com/envoy.extensions";
  const manager = `
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          delayed_close_timeout: 0.03s
          strip_matching_host_port: true
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config:
            virtual_hosts:
            - {name: named, domains: [named.test], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: named}}}]}
            - name: all
              domains: ["*"]
              routes: [${routes.join(", ")}]`;
  const context = (more: string): string => `
      transport_socket:
        name: tls
        typed_config:
          "@type": ${type}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{certificate_chain: {inline_string: ${JSON.stringify(own.chainPem)}}, private_key: {inline_string: ${JSON.stringify(own.privateKeyPem)}}}]
            validation_context: {trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}${more}}`;
  const listener = (name: Name, socket: string, more = ""): string => `
  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}${more}
    filter_chains:
    - filters:${manager}${socket}`;
  return `
static_resources:
  listeners:${listener("plain", "")}${listener("known", context(""))}${listener(
    "anybody",
    context(", trust_chain_verification: ACCEPT_UNTRUSTED"),
  )}${listener("unbound", "", "\n    bind_to_port: false")}
`;
}

let planes: Planes<Name>;

before(async () => {
  planes = await startPlanes(names, (ports) => bootstrap(ports));
});

after(async () => {
  await planes?.close();
});

/** Head and body, one byte to a character; "closed" where there is no answer. */
function exchange(socket: net.Socket, request: string): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(received === "" ? "closed" : received));
    socket.write(request, "latin1");
  });
}

function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

async function presentedAs(plane: PlaneName, name: Name, client: string): Promise<string> {
  const certificate = clients[client];
  const socket = tls.connect({
    host: "127.0.0.1",
    port: planes.port(plane, name),
    rejectUnauthorized: false,
    ...(certificate === undefined
      ? {}
      : { cert: certificate.chainPem, key: certificate.privateKeyPem }),
  });
  const request = "GET /tls HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
  return bodyOf(await exchange(socket, request));
}

const expected: Readonly<Record<string, string>> = {
  "known to a friend": "valid",
  "known to a friend without a URI": "valid",
  "known to nobody": "none",
  "anybody to a friend": "valid",
  "anybody to a friend without a URI": "valid",
  "anybody to a stranger": "shown",
  "anybody to nobody": "none",
};

for (const [what, body] of Object.entries(expected)) {
  test(`tls_context matches what was shown: ${what}`, async () => {
    const [name = "", ...words] = what.split(" to ");
    const client = words.join(" to ");
    const listener = name === "known" ? "known" : "anybody";
    assert.equal(await presentedAs("envoy", listener, client), body, "Envoy");
    for (const plane of planeNames) {
      assert.equal(await presentedAs(plane, listener, client), body, plane);
    }
  });
}

async function ask(plane: PlaneName, path: string, text: string, host = "a"): Promise<string> {
  const socket = net.connect({ host: "127.0.0.1", port: planes.port(plane, "plain") });
  const field = text === "" ? "" : `x-text: ${text}\r\n`;
  const request = `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n${field}connection: close\r\n\r\n`;
  const answer = await exchange(socket, request);
  return answer.replace(/^date: .*\r\n/m, "").replace(/^server: .*\r\n/m, "");
}

const utf8 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");
const texts: Readonly<Record<string, string>> = {
  "the same bytes": utf8("größe"),
  "Latin-1": "gr\xf6\xdfe",
  "another case": utf8("straße"),
  "another case of what is no ASCII": utf8("größE").replace("\xb6", "\x96"),
  "the beginning": utf8("ü-bung"),
  "the beginning in Latin-1": "\xfc-bung",
  "the end": utf8("5-€"),
  "the middle": utf8("a☃b"),
  "a letter of two bytes": utf8("<ü>"),
  "a letter of three bytes": utf8("<☃>"),
  "two letters": utf8("<ab>"),
  "two bytes that are no letter": "<\xff\xfe>",
  "a byte that is no letter": "<\xff>",
  "a letter beside another": utf8("=ü="),
  "a byte beside a letter": "=\xfc=",
  "a range": utf8("äöü"),
  "a range in Latin-1": "\xe4\xf6\xfc",
  "a letter written too long": "<\xc0\xaf>",
  "half of a pair": "<\xed\xa0\x80>",
};

for (const [what, text] of Object.entries(texts)) {
  test(`fields are compared byte by byte: ${what}`, async () => {
    const match = bodyOf(await ask("envoy", "/text", text));
    const told = await ask("envoy", "/told", text);
    for (const plane of planeNames) {
      assert.equal(bodyOf(await ask(plane, "/text", text)), match, plane);
      const [ours, theirs] = [await ask(plane, "/told", text), told].map((answer) =>
        answer.split("\r\n").toSorted(),
      );
      assert.deepEqual(ours, theirs, plane);
    }
  });
}

const lines: Readonly<Record<string, string>> = {
  "the first of two": `${utf8("größe")}\r\nx-text: else`,
  "the second of two": `else\r\nx-text: ${utf8("größe")}`,
  "both of two": `${utf8("größe")}\r\nx-text: ${utf8("größe")}`,
  "neither of two": "else\r\nx-text: other",
  "one with a comma": `${utf8("größe")},else`,
};

for (const [what, text] of Object.entries(lines)) {
  test(`each line of a field is compared by itself: ${what}`, async () => {
    for (const path of ["/text", "/inverted"]) {
      const match = bodyOf(await ask("envoy", path, text));
      for (const plane of planeNames) {
        assert.equal(bodyOf(await ask(plane, path, text)), match, `${plane} ${path}`);
      }
    }
  });
}

for (const name of listedNames) {
  test(`lines are joined, or compared by themselves: ${name}`, async () => {
    for (const [first, second] of [
      ["one", "two"],
      ["two", "one"],
    ]) {
      const text = `\r\n${name}: ${first}\r\n${name}: ${second}`;
      const match = bodyOf(await ask("envoy", `/of-${name}`, `-${text}`));
      for (const plane of planeNames) {
        assert.equal(bodyOf(await ask(plane, `/of-${name}`, `-${text}`)), match, plane);
      }
    }
  });
}

const cookies: Readonly<Record<string, string>> = {
  alone: "sess=1",
  "among others": "a=b; sess=1; c=d",
  "without a blank": "a=b;sess=1",
  "behind several blanks": "a=b;   sess=1",
  "behind a tab": "a=b;\tsess=1",
  "behind a comma": "a=b,sess=1",
  "behind a comma and a blank": "a=b, sess=1",
  "with a comma in it": "sess=1,2",
  "in quotes": 'sess="1"',
  "in half of its quotes": 'sess="1',
  "a blank before the sign": "sess =1",
  "a blank before the value": "sess= 1",
  "a blank behind the value": "sess=1 ; a=b",
  "a blank of Latin-1": "a=b;\xa0sess=1",
  "no sign": "sess; a=b",
  twice: "sess=2; sess=1",
  "twice, the other way round": "sess=1; sess=2",
  "another case": "SESS=1",
  "nothing between the signs": ";;=;sess=1;;",
  "on the second line": "a=b\r\ncookie: sess=1",
  "on both lines": "sess=2\r\ncookie: sess=1",
  "on the second line, behind a comma": "a=b\r\ncookie: c=d,sess=1",
};

for (const [what, text] of Object.entries(cookies)) {
  test(`cookies are told apart as by Envoy: ${what}`, async () => {
    const match = bodyOf(await ask("envoy", "/cookie", `-\r\ncookie: ${text}`));
    for (const plane of planeNames) {
      const body = bodyOf(await ask(plane, "/cookie", `-\r\ncookie: ${text}`));
      assert.equal(body, match, plane);
    }
  });
}

test("strip_matching_host_port takes the port of the listener alone", async () => {
  for (const plane of ["envoy", ...planeNames] as const) {
    const port = planes.port(plane, "plain");
    const bodies = [`named.test:${port}`, `named.test:${port + 1}`, "named.test"].map(
      async (host) => bodyOf(await ask(plane, "/", "", host)),
    );
    assert.deepEqual(await Promise.all(bodies), ["named", "rest", "named"], plane);
  }
});

test("bind_to_port false: nobody can connect", async () => {
  for (const plane of ["envoy", ...planeNames] as const) {
    const socket = net.connect({ host: "127.0.0.1", port: planes.port(plane, "unbound") });
    const outcome = await new Promise<string>((resolve) => {
      socket.on("connect", () => resolve("connected"));
      socket.on("error", () => resolve("refused"));
    });
    socket.destroy();
    assert.equal(outcome, "refused", plane);
  }
});
