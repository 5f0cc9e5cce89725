/** The way into the mesh: a gateway tells hosts apart and believes nobody. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { SidecarOptions } from "../../../src/base/sidecar-options.ts";
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

    test("who connected outside stands in the log and in X-Forwarded-For", async () => {
      const [url = ""] = traffic().mesh.gatewayUrls;
      const key = traffic().key();
      const localAddress = "127.0.0.7";
      const headers = { host: "shop.example" };
      const { status } = await requestOf(new URL(`/?key=${key}`, url), headers, { localAddress });
      assert.equal(status, 200);
      const [seen] = await traffic().seen(key);
      assert.equal(seen?.headers["x-forwarded-for"], localAddress);
      const entry = await traffic().logged(gatewayName, key);
      assert.match(String(entry["downstream_remote_address"]), /^127\.0\.0\.7:\d+$/);
      assert.equal(entry["x_forwarded_for"], localAddress);
      const port = traffic().mode === "explicit" ? String.raw`\d+` : "80";
      assert.match(String(entry["downstream_local_address"]), new RegExp(`:${port}$`));
    });

    test("a WebSocket of a client that speaks HTTP/2 reaches a server of HTTP/1.1 (RFC 8441)", async () => {
      const [url = ""] = traffic().mesh.gatewayUrls;
      const key = traffic().key();
      const session = http2.connect(url);
      session.on("error", () => {});
      try {
        await once(session, "remoteSettings");
        assert.equal(session.remoteSettings.enableConnectProtocol, true);
        const stream = session.request({
          ":method": "CONNECT",
          ":protocol": "websocket",
          ":scheme": "http",
          ":authority": "shop.example",
          ":path": `/?key=${key}`,
          "sec-websocket-version": "13",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        });
        const [head] = await once(stream, "response");
        assert.equal(head[":status"], 200);
        const frame = Buffer.from("\u0081\u0005hello", "latin1");
        stream.write(frame);
        let text = "";
        for await (const chunk of stream) {
          text += String(chunk);
          if (text.length >= frame.length) break;
        }
        assert.ok(text.endsWith("hello"), text);
      } finally {
        session.destroy();
      }
      const entry = await traffic().logged(gatewayName, key);
      assert.deepEqual([entry["method"], entry["protocol"]], ["GET", "HTTP/2"]);
    });

    test("nobody inside can pretend to hand on somebody else's connection", async () => {
      const { mode, mesh } = traffic();
      const file = join(mesh.stateDir, "i", `${gatewayName}.istio-system`, "options.json");
      const { statusAddress: address }: SidecarOptions = JSON.parse(readFileSync(file, "utf8"));
      const open = mode === "explicit" ? Number(new URL(mesh.gatewayUrls[0] ?? "").port) : 80;
      const pretend = async (port: number): Promise<readonly [string, unknown]> => {
        const key = traffic().key();
        const header = `PROXY TCP4 203.0.113.7 ${address} 40000 80\r\n`;
        const request = `GET /?key=${key} HTTP/1.1\r\nHost: shop.example\r\n\r\n`;
        const { received } = await traffic().connect({ address, port }, [header + request]);
        assert.deepEqual(await traffic().seen(key), []);
        assert.deepEqual(traffic().loggedNow(gatewayName, key), []);
        return [received.slice(0, 12), port];
      };
      assert.deepEqual(await pretend(open), ["HTTP/1.1 400", open]);
      // The port for relayed connections, which only the edge of the mesh may use.
      if (mode !== "explicit") assert.deepEqual(await pretend(61_000), ["", 61_000]);
    });
  });
}
