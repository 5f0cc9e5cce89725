import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { readSessionCookie, writeSessionCookie } from "./session-cookie.ts";

test("readSessionCookie() gives the address until it expires", () => {
  assert.equal(
    readSessionCookie(writeSessionCookie("10.0.0.1:80", undefined), 9e12),
    "10.0.0.1:80",
  );
  const text = writeSessionCookie("[fd00::1]:80", 10_000);
  assert.equal(readSessionCookie(text, 10_000), "[fd00::1]:80");
  assert.equal(readSessionCookie(text, 10_001), undefined);
  // As Envoy writes it.
  assert.equal(readSessionCookie("CgwxMjcuMC4wLjE6ODA=", 0), "127.0.0.1:80");
});

test("readSessionCookie() takes what nobody wrote for no session", () => {
  for (const text of ["", "@@", "CgwxMjcu", "/w==", "////////////", "EAE="]) {
    assert.equal(readSessionCookie(text, 0), undefined, text);
  }
  fc.assert(fc.property(fc.base64String(), (text) => void readSessionCookie(text, 0)));
});
