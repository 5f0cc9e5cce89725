import assert from "node:assert/strict";
import { test } from "node:test";

import { readPeerCertificate } from "./peer-certificate.ts";

test("readPeerCertificate() remembers a certificate, and no more memory than it takes", () => {
  const der = Buffer.alloc(700, 7);
  const read = readPeerCertificate(der);
  assert.equal(read.der.buffer.byteLength, 700);
  der.fill(8);
  assert.equal(read.der[0], 7);
  assert.equal(readPeerCertificate(Buffer.alloc(700, 7)), read);
});
