/** Keys and tokens for tests: made by `node:crypto` alone, also what no library would make. */
import { constants, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

export interface TestKey {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

type Json = Readonly<Record<string, unknown>>;

export function makeKey(
  id: string,
  kind: "rsa" | "P-256" | "P-384" | "P-521" | "ed25519",
): TestKey {
  if (kind === "rsa") return { id, ...generateKeyPairSync("rsa", { modulusLength: 2048 }) };
  if (kind === "ed25519") return { id, ...generateKeyPairSync("ed25519") };
  return { id, ...generateKeyPairSync("ec", { namedCurve: kind }) };
}

/** As it stands in a key set. */
export function jwkOf({ id, publicKey }: TestKey, more: Json = {}): Json {
  return { ...publicKey.export({ format: "jwk" }), kid: id, ...more };
}

export function encodePart(json: Json | string): string {
  return Buffer.from(typeof json === "string" ? json : JSON.stringify(json)).toString("base64url");
}

/** `header` and `payload` as JSON or, to write what no serializer would, as text. */
export function signToken(
  key: TestKey,
  algorithm: string,
  ...[payload, header = { alg: algorithm, kid: key.id }]: [
    payload: Json | string,
    header?: Json | string,
  ]
): string {
  const signed = `${encodePart(header)}.${encodePart(payload)}`;
  return `${signed}.${signatureOf(key, algorithm, signed).toString("base64url")}`;
}

function signatureOf({ privateKey: key }: TestKey, algorithm: string, signed: string): Buffer {
  const bytes = Buffer.from(signed);
  const digest = `sha${algorithm.slice(2)}`;
  switch (algorithm.slice(0, 2)) {
    case "RS":
      return sign(digest, bytes, key);
    case "PS":
      return sign(digest, bytes, {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      });
    case "ES":
      return sign(digest, bytes, { key, dsaEncoding: "ieee-p1363" });
    default:
      return sign(null, bytes, key);
  }
}
