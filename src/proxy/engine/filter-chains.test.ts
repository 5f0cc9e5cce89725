import assert from "node:assert/strict";
import test from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import {
  type FilterChainMatch,
  FilterChainMatch_ConnectionSourceType as SourceType,
} from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { compileFilterChains, type ConnectionFacts } from "./filter-chains.ts";

const facts: ConnectionFacts = {
  destinationAddress: "198.18.0.9",
  destinationPort: 8080,
  sni: undefined,
  transportProtocol: "raw_buffer",
  applicationProtocols: [],
  directSourceAddress: "198.18.0.7",
  sourceAddress: "198.18.0.7",
  sourcePort: 40_000,
  isLocalSource: false,
};

function chosen(
  chains: Readonly<Record<string, Fields<FilterChainMatch>>>,
  connection: Partial<ConnectionFacts>,
  fallback?: string,
): string | undefined {
  const listener = message(Listener, {
    filterChains: Object.entries(chains).map(([name, filterChainMatch]) => ({
      name,
      filterChainMatch,
    })),
    ...(fallback === undefined ? {} : { defaultFilterChain: { name: fallback } }),
  });
  return compileFilterChains(listener).match({ ...facts, ...connection })?.name;
}

const cidr = (addressPrefix: string, prefixLen: number) => ({ addressPrefix, prefixLen });

test("match() prefers the port, and never goes back from it", () => {
  const chains = {
    any: {},
    port: { destinationPort: 8080, transportProtocol: "tls" },
  };
  assert.equal(chosen(chains, { destinationPort: 9090 }), "any");
  assert.equal(chosen(chains, { transportProtocol: "tls" }), "port");
  assert.equal(chosen(chains, {}), undefined);
  assert.equal(chosen(chains, {}, "default"), "default");
});

test("match() takes the longest prefix of the destination, IPv4 and IPv6", () => {
  const chains = {
    wide: { prefixRanges: [cidr("198.18.0.0", 16)] },
    narrow: { prefixRanges: [cidr("198.18.0.0", 24), cidr("10.0.0.0", 8)] },
    six: { prefixRanges: [cidr("fd48::", 16)] },
    any: {},
  };
  assert.equal(chosen(chains, {}), "narrow");
  assert.equal(chosen(chains, { destinationAddress: "198.18.3.1" }), "wide");
  assert.equal(chosen(chains, { destinationAddress: "::ffff:198.18.0.1" }), "narrow");
  assert.equal(chosen(chains, { destinationAddress: "fd48:1::1" }), "six");
  assert.equal(chosen(chains, { destinationAddress: "127.0.0.1" }), "any");
});

test("match() takes exact server names, then the longest wildcard, then none", () => {
  const chains = {
    exact: { serverNames: ["a.b.com"] },
    long: { serverNames: ["*.b.com"] },
    short: { serverNames: ["*.com"] },
    none: {},
  };
  assert.equal(chosen(chains, { sni: "a.b.com" }), "exact");
  assert.equal(chosen(chains, { sni: "x.b.com" }), "long");
  assert.equal(chosen(chains, { sni: "x.y.b.com" }), "long");
  assert.equal(chosen(chains, { sni: "b.com" }), "short");
  assert.equal(chosen(chains, { sni: "com" }), "none");
  assert.equal(chosen(chains, {}), "none");
});

test("match() tells Istio's inbound chains apart", () => {
  const chains = {
    mtlsHttp: {
      transportProtocol: "tls",
      applicationProtocols: ["istio-http/1.0", "istio-http/1.1", "istio-h2"],
    },
    mtlsTcp: { transportProtocol: "tls", applicationProtocols: ["istio-peer-exchange", "istio"] },
    tls: { transportProtocol: "tls" },
    http: { transportProtocol: "raw_buffer", applicationProtocols: ["http/1.0", "http/1.1"] },
    tcp: { transportProtocol: "raw_buffer" },
  };
  const tls = { transportProtocol: "tls" } as const;
  assert.equal(chosen(chains, { ...tls, applicationProtocols: ["istio-http/1.1"] }), "mtlsHttp");
  assert.equal(chosen(chains, { ...tls, applicationProtocols: ["istio", "h2"] }), "mtlsTcp");
  assert.equal(chosen(chains, { ...tls, applicationProtocols: ["h2"] }), "tls");
  assert.equal(chosen(chains, { applicationProtocols: ["http/1.1"] }), "http");
  assert.equal(chosen(chains, {}), "tcp");
});

test("match() looks at the source last: kind, address, port", () => {
  const chains = {
    local: { sourceType: SourceType.SAME_IP_OR_LOOPBACK },
    near: { sourcePrefixRanges: [cidr("198.18.0.0", 24)] },
    port: { sourcePrefixRanges: [cidr("198.18.0.0", 24)], sourcePorts: [7] },
    any: {},
  };
  assert.equal(chosen(chains, { isLocalSource: true }), "local");
  assert.equal(chosen(chains, {}), "near");
  assert.equal(chosen(chains, { sourcePort: 7 }), "port");
  assert.equal(chosen(chains, { sourceAddress: "10.0.0.1" }), "any");
});

test("match() takes the direct source from the connection, not from a PROXY header", () => {
  const chains = { relay: { directSourcePrefixRanges: [cidr("198.18.0.1", 32)] } };
  const relayed = { directSourceAddress: "198.18.0.1", sourceAddress: "203.0.113.7" };
  const pretended = { directSourceAddress: "198.18.0.7", sourceAddress: "198.18.0.1" };
  assert.equal(chosen(chains, relayed), "relay");
  assert.equal(chosen(chains, pretended), undefined);
});

test("compileFilterChains() refuses two chains for one combination", () => {
  const twice = { a: { serverNames: ["a.com", "b.com"] }, b: { serverNames: ["b.com"] } };
  assert.throws(() => chosen(twice, {}), {
    code: "xds.refused",
    message: /filter_chains\[1\].*same as chain 0/,
  });
  assert.throws(() => chosen({ a: { serverNames: ["a.*.com"] } }, {}), { code: "xds.refused" });
  assert.throws(() => chosen({ a: { prefixRanges: [cidr("example.com", 8)] } }, {}), {
    code: "xds.refused",
  });
});
