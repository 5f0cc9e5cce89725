/** The access log, field by field: Istio's JSON and Istio's text. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { eventually } from "../support/mesh.ts";
import type { LogEntry, Traffic } from "../support/traffic.ts";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const address = /^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+$/;
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** What each field of an ordinary request holds: a value, or a pattern. */
function expectedFields(key: string, side: "outbound" | "inbound"): Record<string, unknown> {
  const isOutbound = side === "outbound";
  return {
    authority: "web",
    bytes_received: 4,
    bytes_sent: 10,
    connection_termination_details: null,
    downstream_local_address: address,
    downstream_remote_address: address,
    duration: "number",
    method: "POST",
    path: new RegExp(String.raw`^/\?size=10&key=${key}&marker=\w+$`),
    protocol: "HTTP/1.1",
    request_id: uuid,
    requested_server_name: isOutbound ? null : "outbound_.80_.v1_.web.default.svc.cluster.local",
    response_code: 200,
    response_code_details: "via_upstream",
    response_flags: "-",
    route_name: "default",
    start_time: time,
    upstream_cluster: isOutbound
      ? "outbound|80|v1|web.default.svc.cluster.local"
      : "inbound|8080||",
    upstream_host: address,
    upstream_local_address: address,
    upstream_service_time: /^\d+$/,
    upstream_transport_failure_reason: null,
    user_agent: "traffic/1",
    x_forwarded_for: null,
  };
}

export function logTests(traffic: () => Traffic): void {
  describe("access log", () => {
    const ask = async (key: string): Promise<void> => {
      await traffic().http(
        {
          host: "web",
          path: "/?size=10",
          method: "POST",
          body: "body",
          headers: { "user-agent": "traffic/1" },
        },
        key,
      );
    };

    test("JSON has Istio's fields on both sides", async () => {
      const key = traffic().key();
      await ask(key);
      const [outbound, inbound] = await Promise.all([
        traffic().logged("client-0", key),
        traffic().logged("web-v1-0", key),
      ]);
      assertFields(outbound, expectedFields(key, "outbound"));
      assertFields(inbound, expectedFields(key, "inbound"));
      assert.equal(outbound["request_id"], inbound["request_id"]);
      assert.equal(outbound["upstream_local_address"], inbound["downstream_remote_address"]);
      if (traffic().mode !== "explicit") {
        const to = String(outbound["downstream_local_address"]);
        assert.match(to, /:80$/, "the destination that the application meant");
        assert.equal(inbound["downstream_local_address"], outbound["upstream_host"]);
      }
    });

    test("text is written from the moment the mesh file asks for it", async () => {
      const written = traffic().meshFile;
      traffic().mesh.write("heddle.yaml", written.replace("JSON", "TEXT"));
      try {
        const line = await eventually("a line of text", async () => {
          const key = traffic().key();
          await ask(key);
          const one = await eventually(`a line for ${key}`, () =>
            traffic()
              .logLines("client-0")
              .find((text) => text.includes(`key=${key}`)),
          );
          return one.startsWith("[") && one;
        });
        assert.match(line, textLine);
      } finally {
        traffic().mesh.write("heddle.yaml", written);
      }
    });
  });
}

const somewhere = String.raw`(?:\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+`;
const textLine = new RegExp(
  [
    String.raw`^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\]`,
    String.raw`"POST /\?size=10&key=\w+&marker=\w+ HTTP/1\.1" 200 - via_upstream - "-" 4 10 \d+ \d+`,
    String.raw`"-" "traffic/1" "[0-9a-f-]{36}" "web" "${somewhere}"`,
    String.raw`outbound\|80\|v1\|web\.default\.svc\.cluster\.local`,
    String.raw`${somewhere} ${somewhere} ${somewhere} - default$`,
  ].join(" "),
);

function assertFields(entry: LogEntry, expected: Record<string, unknown>): void {
  assert.deepEqual(Object.keys(entry).toSorted(), Object.keys(expected).toSorted());
  for (const [name, should] of Object.entries(expected)) {
    const is = entry[name];
    if (should instanceof RegExp) assert.match(String(is), should, name);
    else if (should === "number") assert.equal(typeof is, "number", name);
    else assert.equal(is, should, name);
  }
}
