/** How requests are divided among endpoints: by weight, away from failing ones, within limits. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { eventually } from "../support/mesh.ts";
import type { HttpAnswer, Traffic } from "../support/traffic.ts";

export function balancingTests(traffic: () => Traffic): void {
  describe("balancing", () => {
    test("weights divide requests 80 to 20", async () => {
      const count = 2500;
      const answers = await traffic().many({ host: "web", path: "/split" }, count, 8);
      assert.deepEqual(Object.keys(answers).toSorted(), ["200 web-v1-0", "200 web-v2-0"]);
      // Five standard deviations: by chance, one run in a million is outside.
      const bound = 5 * Math.sqrt(count * 0.8 * 0.2);
      const first = answers["200 web-v1-0"] ?? 0;
      assert(Math.abs(first - count * 0.8) < bound, `${first} of ${count}`);
    });

    test("an endpoint that fails is ejected and comes back", async () => {
      const failing = { host: "web", path: "/ejecting?failing=web-v1-0" };
      // Few enough to be over before it comes back, on a busy machine too.
      const first = await traffic().many(failing, 12, 1);
      const failures = first["503 web-v1-0"] ?? 0;
      // The third failure ejects it; one more request may be on its way while that happens.
      assert(failures >= 3 && failures <= 4, JSON.stringify(first));
      assert.deepEqual(await traffic().many(failing, 8, 1), { "200 web-v2-0": 8 });
      await eventually("it is asked again", async () => {
        const answers = await traffic().many({ host: "web", path: "/ejecting" }, 4, 1);
        return (answers["200 web-v1-0"] ?? 0) > 0;
      });
    });

    test("requests beyond a cluster's limits overflow", async () => {
      const key = traffic().key();
      // With the one connection open, one request is served, one waits and four are too many.
      await traffic().many({ host: "web", path: "/narrow" }, 1, 1);
      const call = { host: "web", path: `/narrow?hold=${key}&key=${key}` };
      const asked = traffic().many(call, 6, 6);
      await eventually("four are refused", () => traffic().loggedNow("client-0", key).length === 4);
      await traffic().release("web-v2-0", key);
      assert.deepEqual(await asked, { "200 web-v2-0": 2, "503 -": 4 });
      await eventually("six are logged", () => traffic().loggedNow("client-0", key).length === 6);
      const refused = traffic()
        .loggedNow("client-0", key)
        .filter((one) => one["response_code"] === 503);
      for (const entry of refused) {
        assert.equal(entry["response_flags"], "UO");
        const details = "upstream_reset_before_response_started{overflow}";
        assert.equal(entry["response_code_details"], details);
      }
      const [one] = refused;
      assert.equal(one?.["upstream_cluster"], "outbound|80|narrow|web.default.svc.cluster.local");
      const { headers, body } = await overflow(traffic());
      assert.equal(headers["x-envoy-overloaded"], "true");
      assert.match(body, /^upstream connect error .* reset reason: overflow$/);
    });
  });
}

/** The answer to a request that is one too many: the two before it are held until it is there. */
async function overflow(traffic: Traffic): Promise<HttpAnswer> {
  const hold = traffic.key();
  const call = { host: "web", path: `/narrow?hold=${hold}` };
  const asked = [1, 2, 3].map(async () => await traffic.http(call, traffic.key()));
  const refused = await Promise.race(asked);
  await traffic.release("web-v2-0", hold);
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  assert.equal(refused.status, 503);
  assert.equal(statuses.filter((status) => status === 200).length, 2, statuses.join(" "));
  return refused;
}
