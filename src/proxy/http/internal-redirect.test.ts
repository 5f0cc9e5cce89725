import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { ScriptedChannel } from "../../../test/support/scripted-channel.ts";

/** What leaves for the second endpoint, where a query becomes a header and the first answers with a redirect. */
function redirectedRequest(query: string): string {
  const mesh = new HttpHarness({
    routes: {
      virtualHosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            {
              match: { prefix: "/" },
              route: { cluster: "app", internalRedirectPolicy: {} },
              requestHeadersToAdd: [{ header: { key: "x-user", value: "%QUERY_PARAM(user)%" } }],
            },
          ],
        },
      ],
    },
  });
  const client = mesh.connect();
  client.send(`GET /?${query} HTTP/1.1\r\nhost: a\r\n\r\n`);
  const first = mesh.upstream();
  first.take();
  first.send("HTTP/1.1 302 Found\r\nlocation: http://a/next\r\ncontent-length: 0\r\n\r\n");
  return nextRequest(mesh, first);
}

/** On the connection there was, or on a new one. */
function nextRequest(mesh: HttpHarness, before: ScriptedChannel): string {
  const text = before.take();
  return text === "" ? mesh.upstream().take() : text;
}

test("a redirect that is followed carries fields of a route's own", () => {
  assert.match(
    redirectedRequest("user=alice"),
    /^GET \/next HTTP\/1\.1\r\n[^]*\r\nx-user: alice\r\n/,
  );
});

test("a redirect that is followed makes no fields of a value's line ends", () => {
  for (const forged of ["x-forwarded-client-cert:%20By=x", "content-length:%2030"]) {
    for (const end of ["%0d%0a", "%0a", "%c4%8d%c4%8a"]) {
      const request = redirectedRequest(`user=a${end}${forged}`);
      assert.match(request, /^GET \/next HTTP\/1\.1\r\n/, `${end}${forged}`);
      assert.doesNotMatch(
        request,
        /\n(?:x-forwarded-client-cert|content-length):/i,
        `${end}${forged}`,
      );
      assert.equal(request.split("\r\n\r\n").length, 2);
    }
  }
});

test("what was settled of a client holds for the request that is redirected, not for the next", () => {
  const mesh = new HttpHarness({
    manager: { useRemoteAddress: true },
    routes: {
      virtualHosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            { match: { path: "/told" }, directResponse: { status: 200 } },
            { match: { prefix: "/" }, route: { cluster: "app", internalRedirectPolicy: {} } },
          ],
        },
      ],
    },
  });
  const client = mesh.connect();
  const forged = "x-forwarded-client-cert: By=x\r\nx-forwarded-for: 10.0.0.1\r\n";
  client.send(`GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n${forged}\r\n`);
  const app = mesh.upstream();
  app.take();
  app.send("HTTP/1.1 302 Found\r\nlocation: http://a/told\r\ncontent-length: 0\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 200 OK\r\n/);
  const next = nextRequest(mesh, app);
  assert.match(next, /^GET \/b HTTP\/1\.1\r\n/);
  assert.doesNotMatch(next, /x-forwarded-client-cert|x-forwarded-for: 10\.0\.0\.1\r\n/);
});
