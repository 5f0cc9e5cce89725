import assert from "node:assert/strict";
import { test } from "node:test";

import type { ListenerFilterChainMatchPredicate } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { ListenerFilter } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { Inspection } from "./inspection.ts";
import { compileListenerFilters } from "./listener-filters.ts";

const prefix = "type.googleapis.com/envoy.extensions.filters.listener.";
const types = {
  original: "original_dst.v3.OriginalDst",
  proxy: "proxy_protocol.v3.ProxyProtocol",
  tls: "tls_inspector.v3.TlsInspector",
  http: "http_inspector.v3.HttpInspector",
};
const channel = {
  local: { address: "127.0.0.1", port: 15_001 },
  originalDestination: { address: "198.19.0.5", port: 80 },
};

type Wanted = readonly [keyof typeof types, object?];

function inspectionOf(...filters: readonly Wanted[]): Inspection {
  const steps = compileListenerFilters(
    filters.map(([type, filterDisabled]) =>
      ListenerFilter.fromPartial({
        name: type,
        typedConfig: { typeUrl: prefix + types[type], value: new Uint8Array() },
        ...(filterDisabled === undefined
          ? {}
          : { filterDisabled: filterDisabled as ListenerFilterChainMatchPredicate }),
      }),
    ),
  );
  return new Inspection(steps, channel, false);
}

const ports = (start: number, end: number): object => ({ destinationPortRange: { start, end } });
const request = Buffer.from("GET / HTTP/1.1\r\n");
const header = Buffer.from("PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\r\n");

test("Inspection restores the destination, unless the filter is off for the port before that", () => {
  assert.deepEqual(inspectionOf(["original"]).destination, channel.originalDestination);
  assert.deepEqual(
    inspectionOf(["original", ports(80, 81)]).destination,
    channel.originalDestination,
  );
  assert.deepEqual(inspectionOf(["original", ports(15_001, 15_002)]).destination, channel.local);
});

test("Inspection asks each filter for the port that those before it have found", () => {
  const off = ports(80, 81);
  assert.equal(inspectionOf(["original"], ["http", off]).isNeeded, false);
  assert.equal(inspectionOf(["http", off], ["original"]).isNeeded, true);
  const proxied = inspectionOf(["proxy"], ["http", ports(443, 444)]);
  const step = proxied.receive(Buffer.concat([header, request]));
  assert.ok(step.kind === "done");
  assert.deepEqual(step.inspected.applicationProtocols, []);
  assert.deepEqual(proxied.destination, { address: "198.18.0.9", port: 443 });
});

test("Inspection does not read a PROXY header where that filter is off", () => {
  const step = inspectionOf(["proxy", { anyMatch: true }], ["http"]).receive(request);
  assert.ok(step.kind === "done");
  assert.deepEqual(step.inspected.applicationProtocols, ["http/1.1"]);
  const refused = inspectionOf(["proxy", { notMatch: { anyMatch: true } }]).receive(request);
  assert.equal(refused.kind, "refused");
});

test("Inspection waits for bytes of each filter, one byte after another", () => {
  const inspection = inspectionOf(["proxy"], ["tls"], ["http"]);
  const bytes = Buffer.concat([header, request]);
  let done: string | undefined;
  for (const byte of bytes) {
    const step = inspection.receive(Buffer.from([byte]));
    if (step.kind === "done") done ??= step.inspected.applicationProtocols.join();
  }
  assert.equal(done, "http/1.1");
});

test("compileListenerFilters() reads predicates whole", () => {
  const both = { rules: [ports(1, 100), { notMatch: ports(80, 81) }] };
  assert.equal(inspectionOf(["original"], ["tls", { andMatch: both }]).isNeeded, true);
  assert.equal(inspectionOf(["original"], ["tls", { orMatch: both }]).isNeeded, false);
  assert.throws(
    () => inspectionOf(["tls", { orMatch: { rules: [ports(1, 2)] } }]),
    /listener_filters\[0\]\.filter_disabled\.or_match\.rules: at least two are required/,
  );
  assert.throws(
    () => inspectionOf(["tls", { notMatch: {} }]),
    /listener_filters\[0\]\.filter_disabled\.not_match: says nothing/,
  );
});
