import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../../test/support/message.ts";
import { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { CheckResponse } from "../../wire/gen/ts/envoy/service/auth/v3/external_auth.ts";
import { grpcPrefix } from "../../wire/grpc.ts";
import { Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import type { AnswerEnding } from "./cluster-call.ts";
import { compileGrpcService } from "./ext-authz-grpc.ts";
import type { Decision } from "./ext-authz-service.ts";

const config = message(ExtAuthz, { grpcService: { envoyGrpc: { clusterName: "authz" } } });
assert.ok(config.grpcService !== undefined);
const service = compileGrpcService(config, config.grpcService, "authz");

function head(text: string): Http1Head {
  const made = new Http1Head();
  made.reset("response");
  feedHead(made, Buffer.from(`${text}\r\n\r\n`), 0, { headBytesMax: 1000, fieldsMax: 10 });
  return made;
}

const sound = head("HTTP/1.1 200 OK\r\ngrpc-status: 0");

function decide(body: Uint8Array, of: Http1Head = sound, ending: AnswerEnding = "whole"): Decision {
  return service.decide({
    status: of.status,
    head: of,
    trailers: undefined,
    body: Buffer.from(body),
    ending,
    durationMs: 1,
  });
}

function framed(fields: Fields<CheckResponse>): Buffer {
  const bytes = CheckResponse.encode(message(CheckResponse, fields)).finish();
  return Buffer.concat([grpcPrefix(bytes.length), bytes]);
}

test("decide() takes nothing but one whole message and status 0 for an answer", () => {
  const pass = framed({});
  assert.equal(decide(pass).kind, "allowed");
  for (const broken of [
    Buffer.alloc(0),
    pass.subarray(0, 4),
    Buffer.concat([pass, pass]),
    Buffer.concat([pass, Buffer.from([0])]),
    Buffer.concat([Buffer.from([1]), pass.subarray(1)]),
    Buffer.concat([grpcPrefix(2), Buffer.from([0xff, 0xff])]),
    framed({ status: { code: 7 }, errorResponse: {} }),
  ]) {
    assert.equal(decide(broken).kind, "error", broken.toString("hex"));
  }
  for (const status of ["grpc-status: 14", "grpc-status: x", "x: 1"]) {
    assert.equal(decide(pass, head(`HTTP/1.1 200 OK\r\n${status}`)).kind, "error", status);
  }
  assert.equal(decide(pass, head("HTTP/1.1 503 No\r\ngrpc-status: 0")).kind, "error");
});

test("decide() takes more than is read for a denial, and what broke off for no answer", () => {
  assert.equal(decide(framed({}), sound, "too-long").kind, "invalid");
  assert.equal(decide(framed({}), head("HTTP/1.1 503 No"), "too-long").kind, "error");
  assert.equal(decide(framed({}), sound, "broken").kind, "error");
});

test("decide() lets no service write another message, or half of what it wanted", () => {
  const field = (key: string, value: string, more = {}) => ({ header: { key, value }, ...more });
  const answers = (headers: Fields<CheckResponse>["okResponse"]): Decision["kind"] =>
    decide(framed({ okResponse: headers })).kind;
  for (const value of ["a\r\nx: 1", "a\nb", "a\0", "a\x7f"]) {
    assert.equal(answers({ headers: [field("x", value)] }), "invalid");
    assert.equal(answers({ responseHeadersToAdd: [field("x", value)] }), "invalid");
    const denied = { status: { code: 7 }, deniedResponse: { headers: [field("x", value)] } };
    assert.equal(decide(framed(denied)).kind, "invalid");
  }
  for (const code of [100, 199, 600]) {
    const denied = { status: { code: 7 }, deniedResponse: { status: { code: code as never } } };
    assert.equal(decide(framed(denied)).kind, "invalid", String(code));
  }
  assert.equal(answers({ headers: [field("x y", "1")] }), "invalid");
  assert.equal(answers({ headers: [field("", "1")] }), "invalid");
  assert.equal(answers({ headers: [field("x", "1", { appendAction: 9 as never })] }), "invalid");
  for (const value of ["a b", "a#b", "a\r\nb", "\u00e9", "\x7f"]) {
    assert.equal(answers({ queryParametersToSet: [{ key: "a", value }] }), "invalid");
    assert.equal(answers({ queryParametersToSet: [{ key: value, value: "" }] }), "invalid");
  }
  const framing = ["Content-Length", "transfer-encoding", "connection", ":strange"];
  const passed = decide(framed({ okResponse: { headers: framing.map((one) => field(one, "1")) } }));
  assert.ok(passed.kind === "allowed");
  assert.deepEqual([...passed.set, ...passed.join], []);
});

test("decide() takes a header :status for the answer's, and lets none change that of an endpoint", () => {
  const status = (value: string, more = {}) => ({ header: { key: ":Status", value }, ...more });
  const denied = (...headers: ReturnType<typeof status>[]): Decision => {
    const deniedResponse = { status: { code: 401 as never }, headers };
    return decide(framed({ status: { code: 7 }, deniedResponse }));
  };
  const said = denied(status("418"));
  assert.ok(said.kind === "denied");
  assert.equal(said.status, 418);
  assert.deepEqual(said.fields, []);
  const appended = denied(status("200", { append: true }));
  assert.equal(appended.kind === "denied" && appended.status, 401);
  for (const value of ["", "0", "101", "600", "2e2", "20", "200,403"]) {
    assert.equal(denied(status(value)).kind, "invalid", value);
  }
  assert.equal(denied(status("403"), status("200")).kind, "invalid");
  const responseHeadersToAdd = [status("500")];
  assert.equal(decide(framed({ okResponse: { responseHeadersToAdd } })).kind, "invalid");
  // Requests have none, and get none.
  const passed = decide(framed({ okResponse: { headers: [status("500")] } }));
  assert.ok(passed.kind === "allowed");
  assert.deepEqual([...passed.set, ...passed.join], []);
});

test("decide() comes to a decision whatever bytes it is sent, and to no pass by chance", () => {
  const random = fc.uint8Array({ maxLength: 60 });
  fc.assert(
    fc.property(random, fc.boolean(), (bytes, isFramed) => {
      const body = isFramed ? Buffer.concat([grpcPrefix(bytes.length), bytes]) : bytes;
      const { kind } = decide(body);
      if (kind === "allowed") assert.ok(isFramed || body[0] === 0);
    }),
    { numRuns: 3000 },
  );
});
