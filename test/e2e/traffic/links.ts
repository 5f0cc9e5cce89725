/** What could be read on the links between the workloads while the whole suite ran. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Traffic } from "../support/traffic.ts";
import { plainMarker } from "../support/traffic-markers.ts";

export function linkTests(traffic: () => Traffic): void {
  describe("links", () => {
    test("nothing that was sent by mutual TLS can be read, what was sent in plaintext can", async () => {
      assert.deepEqual([...(await traffic().markersOnLinks())], [plainMarker]);
    });
  });
}
