/** How requests are divided among endpoints: by weight, away from failing ones, within limits. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { eventually } from "../support/mesh.ts";
import type { HttpAnswer, Traffic } from "../support/traffic.ts";

/** `threads`: how many the client's sidecar serves with. */
export function balancingTests(traffic: () => Traffic, threads: number): void {
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
      // With the one connection open, one request is served, one waits and four are too many. Each other
      // thread opens a connection beyond the limit, as Envoy's do, where a request waits and it has none.
      await traffic().many({ host: "web", path: "/narrow" }, 1, 1);
      const call = { host: "web", path: `/narrow?hold=${key}&key=${key}` };
      const asked = traffic().many(call, 6, 6);
      const refusedMin = 5 - threads;
      await eventually(
        `${refusedMin} are refused`,
        () => traffic().loggedNow("client-0", key).length >= refusedMin,
      );
      await traffic().release("web-v2-0", key);
      const answers = await asked;
      const served = answers["200 web-v2-0"] ?? 0;
      assert.deepEqual(answers, { "200 web-v2-0": served, "503 -": 6 - served });
      assert(served >= 2 && served <= 1 + threads, `${served} served by ${threads} threads`);
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
      const { headers, body } = await overflow(traffic(), threads);
      assert.equal(headers["x-envoy-overloaded"], "true");
      assert.match(body, /^upstream connect error .* reset reason: overflow$/);
    });
  });
}

/** The answer to a request that is one too many: those before it are held until it is there. */
async function overflow(traffic: Traffic, threads: number): Promise<HttpAnswer> {
  const hold = traffic.key();
  const call = { host: "web", path: `/narrow?hold=${hold}` };
  const ask = async (): Promise<HttpAnswer> => await traffic.http(call, traffic.key());
  const asked = Array.from({ length: threads + 2 }, ask);
  const refused = await Promise.race(asked);
  await traffic.release("web-v2-0", hold);
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  assert.equal(refused.status, 503);
  const served = statuses.filter((status) => status === 200).length;
  assert(served >= 2 && served <= 1 + threads, statuses.join(" "));
  return refused;
}
