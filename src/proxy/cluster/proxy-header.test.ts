import assert from "node:assert/strict";
import { test } from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { ProxyProtocolConfig } from "../../wire/gen/ts/envoy/config/core/v3/proxy_protocol.ts";
import { decodeProxyHeader, encodeProxyHeader, tlvsOf } from "../../wire/proxy-protocol.ts";
import type { UpstreamEndpoint } from "../context.ts";
import type { ClientEnds } from "../engine/client-ends.ts";
import { DerivedEndpoints } from "./derived-endpoints.ts";
import {
  clientKey,
  compileProxyHeader,
  compileTlvs,
  prefaceOf,
  type ProxyHeaderPlan,
  toldEndpoint,
} from "./proxy-header.ts";

const text = (value: string): Uint8Array => Uint8Array.from(Buffer.from(value));
const remote = { address: "10.0.0.1", port: 80 };
const local = { address: "10.0.0.9", port: 4000 };

function clientWith(...values: readonly (readonly [type: number, value: string])[]): ClientEnds {
  const ends = { source: { address: "203.0.113.7", port: 40_000 }, destination: remote };
  const tlvs = values.map(([type, value]) => ({ type, value: text(value) }));
  const header = decodeProxyHeader(encodeProxyHeader(ends, tlvs));
  assert.ok(header.kind === "header");
  return { ...ends, tlvs: header.tlvs };
}

const compile = (config: Fields<ProxyProtocolConfig>): ProxyHeaderPlan =>
  compileProxyHeader(message(ProxyProtocolConfig, config), "config");

function told(preface: ReturnType<typeof prefaceOf>): string {
  const header = decodeProxyHeader(preface(local));
  assert.ok(header.kind === "header");
  const { version, addresses, tlvs } = header;
  const values = [...tlvsOf(tlvs)].map(
    ({ type, value }) => `${type}=${Buffer.from(value).toString()}`,
  );
  const ends = addresses && `${addresses.source.address}:${addresses.source.port}`;
  return [`v${version}`, ends ?? "own", ...values].join(" ");
}

test("prefaceOf() lets the endpoint speak before the cluster, and the cluster before the client", () => {
  const plan = compile({
    version: 1,
    passThroughTlvs: { matchType: 1, tlvType: [2, 5] },
    addedTlvs: [
      { type: 1, value: text("a") },
      { type: 1, value: text("b") },
      { type: 2, value: text("c") },
      { type: 3, value: text("d") },
    ],
  });
  const own = [{ type: 3, value: text("own") }];
  const client = clientWith([2, "x"], [4, "no"], [5, "y"], [5, "z"]);
  const preface = prefaceOf(plan, own, remote, client);
  assert.equal(told(preface), "v2 203.0.113.7:40000 3=own 1=a 1=b 2=c 5=y 5=z");
});

test("prefaceOf() speaks for itself where there is no client, or none with an address", () => {
  const inside = { ...clientWith(), source: { address: "envoy://client/", port: 0 } };
  for (const client of [undefined, inside]) {
    assert.equal(told(prefaceOf(compile({ version: 1 }), [], remote, client)), "v2 own");
    assert.equal(told(prefaceOf(compile({}), [], remote, client)), "v1 10.0.0.9:4000");
    const within = { address: "envoy://listener/", port: 0 };
    assert.equal(told(prefaceOf(compile({}), [], within, client)), "v1 own");
  }
});

test("clientKey() tells clients apart by their addresses, and by values that go on", () => {
  const [one, two] = [clientWith([2, "one"], [4, "a"]), clientWith([2, "two"], [4, "a"])];
  const passing = (...tlvType: number[]): ProxyHeaderPlan =>
    compile({ version: 1, passThroughTlvs: { matchType: 1, tlvType } });
  assert.equal(clientKey(one, passing(4)), clientKey(two, passing(4)));
  assert.notEqual(clientKey(one, passing(2)), clientKey(two, passing(2)));
  const elsewhere = { ...one, source: { ...one.source, port: 1 } };
  assert.notEqual(clientKey(one, passing(4)), clientKey(elsewhere, passing(4)));
  // Version 1 has no values.
  assert.equal(clientKey(one, compile({})), clientKey(two, compile({})));
  const [long, short] = [clientWith([2, "a 2 1 b"]), clientWith([2, "a"], [2, "b"])];
  assert.notEqual(clientKey(long, passing(2)), clientKey(short, passing(2)));
});

test("compileProxyHeader() refuses what no header holds", () => {
  const refused = (config: Parameters<typeof compile>[0], why: RegExp): void => {
    assert.throws(() => compile(config), why);
  };
  refused(
    { addedTlvs: [{ type: 256, value: text("a") }] },
    /added_tlvs\[0\]\.type: 256 is no byte/,
  );
  refused({ addedTlvs: [{ type: 2 }] }, /added_tlvs\[0\]\.value: is required/);
  refused({ passThroughTlvs: { matchType: 1, tlvType: [300] } }, /300 is no byte/);
  const much = [{ type: 2, value: new Uint8Array(5000) }];
  assert.throws(() =>
    compileTlvs(message(ProxyProtocolConfig, { addedTlvs: much }).addedTlvs, "a"),
  );
});

test("toldEndpoint() keeps nothing for a client that is alone, so that others keep their connections", () => {
  const endpoint: UpstreamEndpoint = {
    address: remote,
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    report: () => {},
  };
  const picked = { ...endpoint, header: compile({ version: 1 }), tlvs: [] };
  const derived = new DerivedEndpoints(() => assert.fail("nobody gives way"), 1);
  const endpointFor = (port: number, isAlone: boolean): UpstreamEndpoint => {
    const ends = { ...clientWith(), source: { address: "203.0.113.7", port } };
    return toldEndpoint(derived, { picked, named: picked, name: "", ends, isAlone });
  };
  const pooled = endpointFor(1, false);
  for (const port of [2, 3]) {
    const { preface, origin } = endpointFor(port, true);
    assert.ok(typeof preface === "function");
    assert.equal(told(preface), `v2 203.0.113.7:${port}`);
    assert.equal(origin, picked);
  }
  assert.equal(endpointFor(1, false), pooled);
});
