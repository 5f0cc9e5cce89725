/** Bytes that are no HTTP requests: raw TCP and WebSocket, through two sidecars. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { eventually } from "../support/mesh.ts";
import type { LogEntry, Traffic } from "../support/traffic.ts";
import { filler } from "../support/traffic-markers.ts";

const largeBytes = 20_000_000;
const ledgerCluster = "outbound|9000||ledger.default.svc.cluster.local";

export function streamTests(traffic: () => Traffic): void {
  describe("streams", () => {
    test("a server that speaks first is heard, and half-closed connections go on", async () => {
      const { received, end } = await traffic().tcp(["", `echo\n${filler}`, null]);
      assert.deepEqual([received, end], [`220 ready\n${filler} bye`, "end"]);
    });

    test("a client goes on after the server's end", async () => {
      const key = traffic().key();
      await traffic().sendLate(`close ${key}\n`, 300_000);
      const [seen] = await eventually("the server has read all", async () => {
        const found = await traffic().seen(key);
        return found.length > 0 && found;
      });
      assert.equal(seen?.bytes, 300_000);
    });

    test("large transfers pass whole, both ways", async () => {
      const up = await traffic().transfer("up", largeBytes);
      assert.equal(up.last, `${largeBytes} bytes`);
      const down = await traffic().transfer(`down ${largeBytes}`, 0);
      assert.equal(down.received, largeBytes);
    });

    test("a connection is logged with its bytes", async () => {
      await traffic().tcp(["", "echo\nfive!", null]);
      const isIt = (entry: LogEntry): boolean =>
        entry["upstream_cluster"] === ledgerCluster && entry["bytes_received"] === 10;
      const entry = await eventually("it is logged", () =>
        tcpEntries(traffic(), "client-0").find(isIt),
      );
      assert.deepEqual(
        [entry["bytes_sent"], entry["response_flags"], entry["response_code"], entry["method"]],
        [19, "-", 0, null],
      );
    });

    test("a connection that no policy allows is closed, with the reason in the log", async () => {
      const { received } = await traffic().tcp(["echo\nhello", null], {}, "web-v2-0");
      assert.doesNotMatch(received, /hello/);
      // Envoy asks its policies when the client's first bytes come; the server may have spoken by then.
      if (traffic().dataPlane === "heddle") assert.equal(received, "");
      const denied = "rbac_access_denied_matched_policy[none]";
      const entry = await eventually("the denial is logged", () =>
        tcpEntries(traffic(), "ledger-0").find(
          (one) => one["connection_termination_details"] === denied,
        ),
      );
      assert.equal(entry["response_code"], 0);
    });

    test("a plaintext connection that STRICT refuses is in the server's log", async () => {
      await traffic().http({ host: "vault.secure", path: "/plaintext" }, traffic().key());
      const entry = await eventually("the refusal is logged", () =>
        tcpEntries(traffic(), "vault-0").find((one) => one["response_flags"] === "NR"),
      );
      assert.equal(entry["response_code_details"], "filter_chain_not_found");
      assert.deepEqual([entry["response_code"], entry["bytes_received"]], [0, 0]);
    });

    test("a WebSocket passes, frames and all", async () => {
      const key = traffic().key();
      const { received } = await traffic().raw({
        host: "web",
        path: `/?key=${key}`,
        waitFor: "\r\n\r\n",
        until: fillerFrame,
        texts: [websocketHead, "\u0081\u0009hello\r\n\r\n", fillerFrame],
      });
      assert.match(received, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
      assert.match(received, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/i);
      assert(received.endsWith(`\r\n\r\n\u0081\u0009hello\r\n\r\n${fillerFrame}`), received);
      const entry = await traffic().logged("client-0", key);
      assert.deepEqual(
        [entry["response_code"], entry["response_code_details"], entry["route_name"]],
        [101, "downstream_remote_disconnect", "default"],
      );
    });

    test("a server may decline a WebSocket", async () => {
      const { received } = await traffic().raw({
        host: "web",
        path: "/?decline=1",
        until: "no",
        texts: [websocketHead],
      });
      assert.match(received, /^HTTP\/1\.1 403 Forbidden\r\n/);
    });
  });
}

/** A text frame that is not masked, with its length in two bytes. */
const fillerFrame = `\u0081\u007e${String.fromCharCode(filler.length >> 8, filler.length & 255)}${filler}`;

const websocketHead = [
  "GET {target} HTTP/1.1",
  "host: {authority}",
  "connection: Upgrade",
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
  "",
  "",
].join("\r\n");

function tcpEntries(traffic: Traffic, instance: string): readonly LogEntry[] {
  return traffic
    .logLines(instance)
    .filter((line) => line.startsWith("{"))
    .map((line): LogEntry => JSON.parse(line))
    .filter((entry) => entry["method"] === null);
}
