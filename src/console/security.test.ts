import assert from "node:assert/strict";
import { test } from "node:test";
import { createTokenGuard, refuseOrigin } from "./security.ts";

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

test("createTokenGuard() accepts its own token alone, and no token that is guessed easily", () => {
  const token = "kJ8vT0pS3bQ1xY7zM5nW2cD4fG6hL9aR";
  const guard = createTokenGuard(token);
  for (const given of [`Bearer ${token}`, `bearer  ${token} `]) {
    assert.equal(guard.accepts(given), true, given);
  }
  const others = [undefined, "", token, "Bearer", "Bearer ", `Bearer ${token}x`, `Basic ${token}`];
  for (const given of others) assert.equal(guard.accepts(given), false, String(given));
  for (const weak of ["", "x", "short"]) {
    assert.equal(createTokenGuard(weak).accepts(`Bearer ${weak}`), false);
  }
});
