import assert from "node:assert/strict";
import { test } from "node:test";
import { createCsrfGuard, refuseOrigin } from "./security.ts";

function check(
  host: string | undefined,
  origin: string | undefined,
  isAllowed: boolean,
  fetchSite?: string,
): void {
  const refusal = refuseOrigin({ host, origin, fetchSite }, new Set(["mesh.example.com"]));
  assert.equal(refusal === undefined, isAllowed, `${host} ${origin} ${fetchSite}: ${refusal}`);
}

test("refuseOrigin() lets in the console's own page and tools", () => {
  check("localhost:9977", undefined, true);
  check("127.0.0.1:9977", "http://127.0.0.1:9977", true);
  check("[::1]:9977", undefined, true);
  check("MESH.example.com", undefined, true);
  check("localhost:9977", undefined, true, "same-origin");
});

test("refuseOrigin() keeps out other names and other sites", () => {
  check(undefined, undefined, false);
  check("evil.example.com:9977", undefined, false);
  check("127.0.0.1.evil.example.com", undefined, false);
  check("localhost:9977@evil", undefined, false);
  check("localhost:9977", "http://evil.example.com", false);
  check("localhost:9977", "http://localhost:8080", false);
  check("localhost:9977", "null", false);
  check("localhost:9977", undefined, false, "cross-site");
});

test("createCsrfGuard() accepts its own token alone", () => {
  const guard = createCsrfGuard();
  assert.equal(guard.accepts(guard.token), true);
  for (const token of [undefined, "", `${guard.token}x`, createCsrfGuard().token]) {
    assert.equal(guard.accepts(token), false);
  }
});
