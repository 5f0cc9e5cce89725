/** Names of services, as an application may write them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Traffic } from "../support/traffic.ts";

const names = {
  "web-v1-0": ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"],
  "vault-0": ["vault.secure", "vault.secure.svc", "vault.secure.svc.cluster.local"],
};

export function nameTests(traffic: () => Traffic): void {
  describe("names", () => {
    for (const [from, all] of Object.entries(names)) {
      for (const host of all) {
        test(`${host} is a name of ${from}'s service`, async () => {
          const answer = await traffic().http({ host, path: "/vault" }, traffic().key());
          assert.deepEqual([answer.status, answer.headers["x-from"]], [200, from]);
        });
      }
    }

    test("names resolve to one address, and unknown ones to none", async () => {
      if (traffic().mode === "explicit") {
        // Names are the proxy's business: one that nobody knows leads nowhere.
        const answer = await traffic().http({ host: "nobody.default" }, traffic().key());
        assert.equal(answer.status, 503);
        return;
      }
      const addresses = await Promise.all(
        names["web-v1-0"].map(async (name) => (await traffic().lookup(name)).address),
      );
      assert.equal(new Set(addresses).size, 1);
      assert.match(addresses[0] ?? "", /^198\.19\./);
      await assert.rejects(traffic().lookup("nobody.default.svc.cluster.local"), /ENOTFOUND/);
    });
  });
}
