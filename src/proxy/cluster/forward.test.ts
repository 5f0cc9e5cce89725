import assert from "node:assert/strict";
import { test } from "node:test";

import { addressOfAuthority } from "./forward.ts";

test("addressOfAuthority() reads names, addresses and ports, and nothing else", () => {
  const check = (authority: string, expected: string | undefined): void => {
    const found = addressOfAuthority(authority, 80);
    assert.equal(found && `${found.address} ${found.port}`, expected, authority);
  };
  check("example.com", "example.com 80");
  check("Example.com:8443", "example.com 8443");
  check("192.0.2.1:1", "192.0.2.1 1");
  check("[2001:db8::1]:443", "2001:db8::1 443");
  check("[::1]", "::1 80");
  check("", undefined);
  check("user@example.com", undefined);
  check("example.com:0", undefined);
  check("example.com:65536", undefined);
  check("example.com:80:80", undefined);
  check("2001:db8::1", undefined);
  check(`${"a".repeat(254)}`, undefined);
});
