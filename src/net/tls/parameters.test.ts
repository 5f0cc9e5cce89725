import assert from "node:assert/strict";
import { test } from "node:test";

import { TlsParameters } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import { planParameters } from "./parameters.ts";

test("planParameters() lets clients have ChaCha20 first only where nothing stands before its group", () => {
  const [aes128, aes256, chaCha] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
  ];
  const rsa = (suite: string): string => suite.replaceAll("ECDSA", "RSA");
  const group = `[${aes128}|${chaCha}]`;
  for (const [cipherSuites, expected] of [
    [[], true],
    [[group, aes256], true],
    [[group, rsa(group), aes256, rsa(aes256)], true],
    [[aes256, group], false],
    [[group, rsa(aes256), rsa(group)], false],
    [[aes128, chaCha], false],
    [[chaCha, aes128], false],
  ] as const) {
    const { yieldsToChaCha } = planParameters(
      TlsParameters.fromPartial({ cipherSuites: [...cipherSuites] }),
    );
    assert.equal(yieldsToChaCha, expected, cipherSuites.join());
  }
});
