/** What HTTP/1.1 promises its users, kept by two sidecars in a row. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";

import type { Traffic } from "../support/traffic.ts";
import { filler } from "../support/traffic-markers.ts";

const head = (method: string, ...fields: readonly string[]): string =>
  [`${method} {target} HTTP/1.1`, "host: {authority}", ...fields, "", ""].join("\r\n");

const megabyte = 1_000_000;
const megabyteHash = createHash("sha256").update(Buffer.alloc(megabyte, filler)).digest("hex");

interface Told {
  readonly bytes: number;
  readonly sha256: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly trailers: Readonly<Record<string, string>>;
  readonly url: string;
}

export function http1Tests(traffic: () => Traffic): void {
  describe("HTTP/1.1", () => {
    test("HEAD says how long the body would be", async () => {
      const call = { host: "web", path: "/?size=1000", method: "HEAD" };
      const { status, headers, bytes } = await traffic().http(call, traffic().key());
      assert.deepEqual([status, headers["content-length"], bytes], [200, "1000", 0]);
    });

    for (const status of [204, 304]) {
      test(`${status} has no body and keeps the connection`, async () => {
        const { received } = await traffic().raw({
          host: "web",
          path: `/?status=${status}`,
          texts: [head("GET") + head("GET", "connection: close")],
        });
        const answers = received.split(`HTTP/1.1 ${status} `);
        assert.equal(answers.length, 3, received);
        assert.match(received, /etag: "one"/i);
        assert.doesNotMatch(received, /transfer-encoding/i);
      });
    }

    test("chunked bodies pass with their trailers, both ways", async () => {
      const { received } = await traffic().raw({
        host: "web",
        texts: [
          head("POST", "transfer-encoding: chunked", "trailer: x-end", "connection: close") +
            "3\r\none\r\n4;extension=1\r\n,two\r\n0\r\nx-end: 7\r\n\r\n",
        ],
      });
      const told = toldIn(received);
      assert.deepEqual([told.bytes, told.trailers], [7, { "x-end": "7" }]);
      const answer = await traffic().http({ host: "web", path: "/?trailers=1" }, traffic().key());
      assert.deepEqual([answer.body, answer.trailers], ["one,two", { "x-sum": "3" }]);
    });

    test("a client that expects 100-continue is told to go on", async () => {
      const { received } = await traffic().raw({
        host: "web",
        waitFor: "100 Continue\r\n\r\n",
        texts: [
          head("POST", "expect: 100-continue", "content-length: 4", "connection: close"),
          "body",
        ],
      });
      assert.match(received, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
      assert.equal(toldIn(received).bytes, 4);
    });

    test("pipelined requests are answered in order", async () => {
      const { received } = await traffic().raw({
        host: "web",
        path: "/?wait=20",
        texts: [
          head("GET", "x-number: 1") +
            head("POST", "x-number: 2", "content-length: 3") +
            "two" +
            head("GET", "x-number: 3", "connection: close"),
        ],
      });
      const numbers = [...received.matchAll(/"x-number":"(\d)"/g)].map(([, number]) => number);
      assert.deepEqual(numbers, ["1", "2", "3"]);
    });

    test("a megabyte passes both ways, counted and chunked", async () => {
      for (const headers of [{ "content-length": String(megabyte) }, {}]) {
        const call = { host: "web", method: "PUT", bodyBytes: megabyte, headers };
        const { body } = await traffic().http(call, traffic().key());
        const told: Told = JSON.parse(body);
        assert.deepEqual([told.bytes, told.sha256], [megabyte, megabyteHash]);
      }
      const answer = await traffic().http(
        { host: "web", path: `/?size=${megabyte}` },
        traffic().key(),
      );
      assert.deepEqual([answer.status, answer.bytes], [200, megabyte]);
    });

    test("a request that two servers could read differently is refused", async () => {
      const { received } = await traffic().raw({
        host: "web",
        texts: [
          head("POST", "content-length: 3", "transfer-encoding: chunked") +
            "0\r\n\r\nGET / HTTP/1.1",
        ],
      });
      assert.match(received, /^HTTP\/1\.1 400 Bad Request\r\n/);
    });

    test("what the proxies say of themselves is the same", async () => {
      const key = traffic().key();
      const answer = await traffic().http({ host: "web" }, key);
      const [seen] = await traffic().seen(key);
      const sent = ["connection", "host", "x-marker"];
      const added = Object.keys(seen?.headers ?? {}).filter((name) => !sent.includes(name));
      assert.deepEqual(added.toSorted(), [
        "x-envoy-attempt-count",
        "x-forwarded-client-cert",
        "x-forwarded-proto",
        "x-request-id",
      ]);
      assert.equal(answer.headers["server"], "envoy");
      assert.match(answer.headers["x-envoy-upstream-service-time"] ?? "", /^\d+$/);
    });
  });
}

/** What the server told in the body of the last answer. */
function toldIn(received: string): Told {
  const told: Told = JSON.parse(received.slice(received.lastIndexOf("\r\n\r\n{") + 4));
  return told;
}
