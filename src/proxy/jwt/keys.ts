/**
 * Public keys of an issuer (a JWK set, RFC 7517, or certificates by key id) and the signatures they
 * made. What a key may verify is fixed when it arrives: its type, curve and `alg` say which
 * algorithms, and a token's header only chooses among these. Symmetric keys are left out.
 */
import {
  constants,
  createPublicKey,
  type KeyObject,
  type VerifyKeyObjectInput,
  verify,
  X509Certificate,
} from "node:crypto";

import type { JwtFailure } from "./failure.ts";
import { type JsonObject, parseJsonObject } from "./strict-json.ts";
import type { Token } from "./token.ts";

interface PublicKey {
  /** Empty: it has none. */
  readonly id: string;
  /** The one algorithm it says it is for; undefined: it says nothing. */
  readonly algorithm: string | undefined;
  /** By algorithm: the digest and how the key is used. */
  readonly uses: ReadonlyMap<string, KeyUse>;
}

interface KeyUse {
  /** Null where the algorithm has its own (EdDSA). */
  readonly digest: string | null;
  readonly key: VerifyKeyObjectInput;
  /** What every signature of it is long; undefined where that is the verifier's business. */
  readonly signatureBytes?: number;
}

/** A token may have to be tried with each. */
const keysMax = 100;

export class KeySet {
  readonly #keys: readonly PublicKey[];

  constructor(keys: readonly PublicKey[]) {
    this.#keys = keys;
  }

  get size(): number {
    return this.#keys.length;
  }

  /** Undefined where a key of the set has signed it. */
  verify(token: Token): JwtFailure | undefined {
    if (this.#keys.length === 0) return "no-keys";
    let failure: JwtFailure = "no-matching-key";
    let signed: Buffer | undefined;
    for (const { id, algorithm, uses } of this.#keys) {
      if (token.keyId !== "" && id !== "" && token.keyId !== id) continue;
      if (algorithm !== undefined && token.algorithm !== algorithm) continue;
      failure = "verification";
      const use = uses.get(token.algorithm);
      if (use === undefined) continue;
      const { signatureBytes } = use;
      if (signatureBytes !== undefined && token.signature.length !== signatureBytes) {
        if (token.algorithm === "EdDSA") return "signature-length";
        continue;
      }
      signed ??= Buffer.from(token.signed, "latin1");
      if (isSignedBy(use, signed, token.signature)) return undefined;
    }
    return failure;
  }
}

/** A key that cannot be used this way (too small for the digest) has not signed it. */
function isSignedBy({ digest, key }: KeyUse, signed: Buffer, signature: Buffer): boolean {
  return attempt(() => verify(digest, signed, key, signature)) === true;
}

/** Undefined for what is no JWK set; keys in it that cannot be used are left out. */
export function parseKeySet(text: string): KeySet | undefined {
  const json = parseJsonObject(text);
  if (json === undefined) return undefined;
  const keys = json["keys"];
  if (keys === undefined) return parseCertificates(json);
  if (!Array.isArray(keys) || keys.length > keysMax) return undefined;
  return new KeySet(keys.flatMap((key: unknown) => (isObject(key) ? (readKey(key) ?? []) : [])));
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `{"key id": "PEM certificate"}`, as some issuers publish their RSA keys. */
function parseCertificates(json: JsonObject): KeySet | undefined {
  const entries = Object.entries(json);
  if (entries.length === 0 || entries.length > keysMax) return undefined;
  const keys: PublicKey[] = [];
  for (const [id, pem] of entries) {
    if (id === "" || typeof pem !== "string") return undefined;
    const key = attempt(() => new X509Certificate(pem).publicKey);
    if (key?.asymmetricKeyType !== "rsa") return undefined;
    keys.push({ id, algorithm: undefined, uses: rsaUses(key) });
  }
  return new KeySet(keys);
}

function readKey(jwk: JsonObject): PublicKey | undefined {
  const { kid = "", alg, use, n, e, x, y } = jwk;
  if (typeof kid !== "string") return undefined;
  // A key for encryption signs nothing.
  if (use !== undefined && use !== "sig") return undefined;
  const uses = ((): ReadonlyMap<string, KeyUse> | undefined => {
    switch (jwk["kty"]) {
      case "RSA": {
        const key = importKey({ kty: "RSA", n, e });
        return key === undefined ? undefined : rsaUses(key);
      }
      case "EC": {
        const crv = curveOf(jwk);
        const curve = curves.get(crv);
        const key = importKey({ kty: "EC", crv, x, y });
        if (curve === undefined || key === undefined) return undefined;
        const { algorithm, digest, signatureBytes } = curve;
        const input = { key, dsaEncoding: "ieee-p1363" } as const;
        return new Map([[algorithm, { digest, key: input, signatureBytes }]]);
      }
      case "OKP": {
        const key =
          jwk["crv"] === "Ed25519" ? importKey({ kty: "OKP", crv: "Ed25519", x }) : undefined;
        if (key === undefined) return undefined;
        return new Map([["EdDSA", { digest: null, key: { key }, signatureBytes: 64 }]]);
      }
      default:
        return undefined;
    }
  })();
  if (uses === undefined) return undefined;
  if (alg !== undefined && (typeof alg !== "string" || !uses.has(alg))) return undefined;
  return { id: kid, algorithm: alg, uses };
}

const curves: ReadonlyMap<
  unknown,
  { readonly algorithm: string; readonly digest: string; readonly signatureBytes: number }
> = new Map([
  ["P-256", { algorithm: "ES256", digest: "sha256", signatureBytes: 64 }],
  ["P-384", { algorithm: "ES384", digest: "sha384", signatureBytes: 96 }],
  ["P-521", { algorithm: "ES512", digest: "sha512", signatureBytes: 132 }],
]);

/** As Envoy reads a key that does not name its curve. */
function curveOf({ crv, alg }: JsonObject): unknown {
  if (crv !== undefined) return crv;
  if (alg === undefined) return "P-256";
  for (const [name, { algorithm }] of curves) if (algorithm === alg) return name;
  return undefined;
}

function rsaUses(key: KeyObject): ReadonlyMap<string, KeyUse> {
  const uses = new Map<string, KeyUse>();
  for (const bits of [256, 384, 512]) {
    const digest = `sha${bits}`;
    uses.set(`RS${bits}`, { digest, key: { key, padding: constants.RSA_PKCS1_PADDING } });
    const saltLength = constants.RSA_PSS_SALTLEN_DIGEST;
    uses.set(`PS${bits}`, {
      digest,
      key: { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength },
    });
  }
  return uses;
}

/** Only public parts are passed on. Exponents that nobody uses make every check slow. */
function importKey(jwk: JsonObject): KeyObject | undefined {
  if (jwk["kty"] === "RSA" && jwk["e"] !== "AQAB" && jwk["e"] !== "Aw") return undefined;
  return attempt(() => createPublicKey({ key: { ...jwk }, format: "jwk" }));
}

function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}
