import assert from "node:assert/strict";
import { test } from "node:test";

import { type HarnessOptions, HttpHarness } from "../../../test/support/http-harness.ts";

type Manager = NonNullable<HarnessOptions["manager"]>;

/** The harness's clients connect from 10.1.1.1. */
const internal = { cidrRanges: [{ addressPrefix: "10.0.0.0", prefixLen: 8 }] };

interface Seen {
  /** The client, as the access log has it. */
  readonly client: string;
  /** What the upstream gets. */
  readonly fields: ReadonlyMap<string, string>;
}

function ask(manager: Manager, ...fields: readonly string[]): Seen {
  const mesh = new HttpHarness({ manager });
  const client = mesh.connect();
  client.send(`${["GET / HTTP/1.1", "host: a", ...fields].join("\r\n")}\r\n\r\n`);
  const app = mesh.upstream();
  const lines = app.take().split("\r\n").slice(1);
  app.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  return {
    client: mesh.record?.downstreamRemoteAddress.address ?? "",
    fields: new Map(lines.map((line) => [line.split(": ")[0] ?? "", line.split(": ")[1] ?? ""])),
  };
}

test("settleClient() believes as many proxies as it is told to", () => {
  const cases: [Manager, string | undefined, string][] = [
    [{}, undefined, "10.1.1.1"],
    [{}, "192.0.2.1", "192.0.2.1"],
    [{}, "192.0.2.1, 198.51.100.2", "198.51.100.2"],
    [{ xffNumTrustedHops: 1 }, "192.0.2.1, 198.51.100.2", "192.0.2.1"],
    [{ xffNumTrustedHops: 2 }, "192.0.2.1, 198.51.100.2", "10.1.1.1"],
    [{}, "not an address", "10.1.1.1"],
    [{ useRemoteAddress: true }, "192.0.2.1", "10.1.1.1"],
    [{ useRemoteAddress: true, xffNumTrustedHops: 1 }, "192.0.2.1, 198.51.100.2", "198.51.100.2"],
    [{ useRemoteAddress: true, xffNumTrustedHops: 2 }, "192.0.2.1, 198.51.100.2", "192.0.2.1"],
    [{ useRemoteAddress: true, xffNumTrustedHops: 3 }, "192.0.2.1, 198.51.100.2", "10.1.1.1"],
  ];
  for (const [manager, forwarded, expected] of cases) {
    const fields = forwarded === undefined ? [] : [`x-forwarded-for: ${forwarded}`];
    assert.equal(ask(manager, ...fields).client, expected, `${forwarded}`);
  }
});

test("settleClient() tells the next hop, unless it shall not", () => {
  const forwarded = "x-forwarded-for: 192.0.2.1";
  const edge = ask({ useRemoteAddress: true }, forwarded, "x-envoy-internal: true").fields;
  assert.equal(edge.get("x-forwarded-for"), "192.0.2.1,10.1.1.1");
  assert.equal(edge.get("x-envoy-external-address"), "10.1.1.1");
  assert.equal(edge.has("x-envoy-internal"), false);
  const silent = ask({ useRemoteAddress: true, skipXffAppend: true }, forwarded).fields;
  assert.equal(silent.get("x-forwarded-for"), "192.0.2.1");
  assert.equal(ask({}, forwarded).fields.get("x-forwarded-for"), "192.0.2.1");
});

test("settleClient() takes controls from whoever is not internal", () => {
  const control = "x-envoy-upstream-rq-timeout-ms: 7";
  const timeout = (manager: Manager, ...fields: readonly string[]): string =>
    ask(manager, control, ...fields).fields.get("x-envoy-expected-rq-timeout-ms") ?? "";
  const edge = { useRemoteAddress: true };
  assert.equal(timeout({}), "15000");
  assert.equal(timeout(edge), "15000");
  assert.equal(timeout({ ...edge, internalAddressConfig: internal }), "7");
  // Who was forwarded for is not the one who connects.
  const forwarded = "x-forwarded-for: 10.2.2.2";
  assert.equal(timeout({ ...edge, internalAddressConfig: internal }, forwarded), "15000");
  assert.equal(timeout({ internalAddressConfig: internal }, forwarded), "7");
  assert.equal(timeout({ internalAddressConfig: internal }, `${forwarded}, 10.3.3.3`), "15000");
  assert.equal(timeout({ internalAddressConfig: internal }, "x-forwarded-for: 192.0.2.1"), "15000");
});

test("settleClient() takes from strangers at the edge what proxies tell each other", () => {
  const fields = ["x-envoy-original-path: /forged", "x-envoy-decorator-operation: forged"];
  assert.equal(
    ask({ useRemoteAddress: true }, ...fields).fields.has("x-envoy-original-path"),
    false,
  );
  assert.equal(ask({}, ...fields).fields.get("x-envoy-original-path"), "/forged");
});
