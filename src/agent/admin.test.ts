import assert from "node:assert/strict";
import { test } from "node:test";

import { type AdminHandler, plainText, readOnlyAdmin } from "./admin.ts";
import { withAgentStatus } from "./agent-status.ts";

const plane: AdminHandler = ({ method, path }) => plainText(200, `${method} ${path}\n`);

async function ask(handler: AdminHandler, path: string, method = "GET"): Promise<string> {
  const { status, body } = await handler({ method, path, query: new URLSearchParams() });
  return `${status} ${String(body)}`;
}

test("readOnlyAdmin() answers what changes nothing, and lists it", async () => {
  const loopback = readOnlyAdmin(plane);
  assert.equal(await ask(loopback, "/stats"), "200 GET /stats\n");
  assert.match(
    await ask(loopback, "/"),
    /^200 GET answers:\n {2}\/config_dump\n[^]* {2}\/memory\n$/,
  );
  assert.doesNotMatch(await ask(loopback, "/"), /logging|drain|quit/);
  for (const path of ["/logging", "/quitquitquit", "/drain_listeners"]) {
    assert.match(await ask(loopback, path), /^403 only reading is allowed here\n/);
    assert.match(await ask(loopback, path, "POST"), /^403 /);
  }
  assert.match(await ask(loopback, "/", "POST"), /^403 /);
});

test("withAgentStatus() answers metrics in one scheme and leaves the rest to the data plane", async () => {
  const status = (): Promise<never> => Promise.reject(new Error("not asked"));
  const socket = withAgentStatus(plane, { status, metrics: () => "envoy_server_memory 1\n" });
  assert.equal(await ask(socket, "/metrics"), "200 envoy_server_memory 1\n");
  assert.equal(await ask(socket, "/metrics", "POST"), "200 POST /metrics\n");
  assert.equal(await ask(socket, "/stats"), "200 GET /stats\n");
});
