import { generateKeyPairSync, type KeyObject } from "node:crypto";

import { createCsr } from "./x509/csr.ts";
import { encodePem } from "./x509/pem.ts";

/** A fresh P-256 key. */
export interface GeneratedKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** PKCS #8. */
  readonly privateKeyPem: string;
}

export function generateKey(): GeneratedKey {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return {
    privateKey,
    publicKey,
    privateKeyPem: String(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}

/** A certificate request for `key`, PEM. `instance` (`cart-0.default`) is for whoever reads it. */
export function requestFor(key: GeneratedKey, instance: string): string {
  return encodePem("CERTIFICATE REQUEST", createCsr(key.privateKey, instance));
}
