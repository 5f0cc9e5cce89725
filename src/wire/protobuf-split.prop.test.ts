/** Taking a message apart against decoding it whole. */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { RouteConfiguration } from "./gen/ts/envoy/config/route/v3/route.ts";
import { VirtualHost } from "./gen/ts/envoy/config/route/v3/route_components.ts";
import { splitMessage } from "./protobuf-split.ts";

const host = fc.record({
  name: fc.string(),
  domains: fc.array(fc.string(), { maxLength: 3 }),
  requireTls: fc.constantFrom(0, 1, 2),
});

test("splitMessage() finds what decode() finds, wherever fields stand", () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.array(host, { maxLength: 5 }),
      fc.boolean(),
      (name, hosts, last) => {
        const before = RouteConfiguration.encode(RouteConfiguration.fromPartial({ name })).finish();
        const after = RouteConfiguration.encode(
          RouteConfiguration.fromPartial({ virtualHosts: hosts, ignorePortInHostMatching: last }),
        ).finish();
        // A field that no schema knows, of each wire type: 5000 as varint, 64 bit, bytes, group, 32 bit.
        const unknown = [
          [0xc0, 0xb8, 0x02, 0xff, 0x01],
          [0xc1, 0xb8, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
          [0xc2, 0xb8, 0x02, 2, 9, 9],
          [0xc3, 0xb8, 0x02, 0x08, 0x01, 0xc4, 0xb8, 0x02],
          [0xc5, 0xb8, 0x02, 1, 2, 3, 4],
        ].flat();
        const bytes = Uint8Array.from([...unknown, ...after, ...before]);
        const whole = RouteConfiguration.decode(bytes);
        const { parts, rest } = splitMessage(bytes, 2);
        const found = Array.from({ length: parts.length / 2 }, (_, i) =>
          VirtualHost.decode(bytes.subarray(parts[i * 2], parts[i * 2 + 1])),
        );
        assert.deepEqual(found, whole.virtualHosts);
        assert.deepEqual(RouteConfiguration.decode(rest), { ...whole, virtualHosts: [] });
      },
    ),
  );
});

test("splitMessage() stays within any bytes, or says that they are no message", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        const { parts, rest } = splitMessage(bytes, 2);
        assert.ok(parts.every((at) => at <= bytes.length));
        assert.ok(rest.length <= bytes.length);
      } catch (thrown) {
        assert.match(String(thrown), /cannot be decoded/);
      }
    }),
    { numRuns: 3000 },
  );
});
