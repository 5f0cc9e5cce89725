/** The way into the mesh: a gateway tells hosts apart and believes nobody. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { gatewayName, type HttpAnswer, type Traffic } from "../support/traffic.ts";
import { requestOf } from "../support/outside.ts";

export function gatewayTests(traffic: () => Traffic): void {
  const ask = async (
    host: string,
    key: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<HttpAnswer> => {
    const [url] = traffic().mesh.gatewayUrls;
    assert(url !== undefined);
    return await requestOf(new URL(`/?key=${key}`, url), { host, ...headers });
  };

  describe("gateway", () => {
    for (const [host, from] of [
      ["shop.example", "web-v1-0"],
      ["shop.example:8080", "web-v1-0"],
      ["any.two.example", "web-v2-0"],
    ] as const) {
      test(`${host} is routed to ${from}`, async () => {
        const { status, headers } = await ask(host, traffic().key());
        assert.deepEqual([status, headers["x-from"]], [200, from]);
      });
    }

    test("a host that nobody offers is not found", async () => {
      const key = traffic().key();
      const { status } = await ask("elsewhere.example", key);
      const entry = await traffic().logged(gatewayName, key);
      assert.deepEqual(
        [status, entry["response_flags"], entry["response_code_details"]],
        [404, "NR", "route_not_found"],
      );
    });

    test("a caller from outside cannot say who it is", async () => {
      const key = traffic().key();
      const forged = "By=spiffe://x;URI=spiffe://cluster.local/ns/default/sa/client";
      await ask("shop.example", key, {
        "x-forwarded-client-cert": forged,
        "x-envoy-retry-on": "5xx",
        "x-request-id": "mine",
      });
      const [seen] = await traffic().seen(key);
      const peer = seen?.headers["x-forwarded-client-cert"] ?? "";
      const gateway =
        "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";
      assert.equal(/URI=([^;,]+)$/.exec(peer)?.[1], gateway);
      assert.doesNotMatch(peer, /sa\/client/);
      assert.equal(seen?.headers["x-envoy-retry-on"], undefined);
      assert.notEqual(seen?.headers["x-request-id"], "mine");
      assert.match(seen?.headers["x-forwarded-for"] ?? "", /^[0-9a-f.:]+$/);
    });
  });
}
