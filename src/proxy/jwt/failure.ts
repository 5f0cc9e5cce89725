/** Why a token is not believed. The sentences are Envoy's: clients and people know them. */
const sentences = {
  missing: "Jwt is missing",
  "bad-format": "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
  "header-base64": "Jwt header is an invalid Base64url encoded",
  "header-json": "Jwt header is an invalid JSON",
  "algorithm-missing": "Jwt header [alg] field is required and must be a string",
  "algorithm-unknown": "Jwt header [alg] is not supported",
  "key-id-type": "Jwt header [kid] field is not a string",
  "payload-base64": "Jwt payload is an invalid Base64url encoded",
  "payload-json": "Jwt payload is an invalid JSON",
  "issuer-type": "Jwt payload [iss] field is not a string",
  "subject-type": "Jwt payload [sub] field is not a string",
  "issued-at-type": "Jwt payload [iat] field is not an integer",
  "issued-at-range": "Jwt payload [iat] field is not a positive 64 bit integer",
  "not-before-type": "Jwt payload [nbf] field is not an integer",
  "not-before-range": "Jwt payload [nbf] field is not a positive 64 bit integer",
  "expires-type": "Jwt payload [exp] field is not an integer",
  "expires-range": "Jwt payload [exp] field is not a positive 64 bit integer",
  "token-id-type": "Jwt payload [jti] field is not a string",
  "audience-type": "Jwt payload [aud] field is not a string or string list",
  "signature-base64": "Jwt signature is an invalid Base64url encoded",
  "signature-length": "Jwt ED25519 signature is wrong length",
  "unknown-issuer": "Jwt issuer is not configured",
  "not-yet-valid": "Jwt not yet valid",
  expired: "Jwt is expired",
  audience: "Audiences in Jwt are not allowed",
  verification: "Jwt verification fails",
  "no-keys": "Jwks doesn't have any valid public key",
  "no-matching-key": "Jwks doesn't have key to match kid or alg from Jwt",
  "fetch-failed": "Jwks remote fetch is failed",
} as const;

export type JwtFailure = keyof typeof sentences;

/** Their numbers in Envoy's metadata. */
const codes: { readonly [Failure in JwtFailure]: number } = {
  missing: 1,
  "not-yet-valid": 2,
  expired: 3,
  "bad-format": 4,
  "header-base64": 5,
  "header-json": 6,
  "algorithm-missing": 7,
  "algorithm-unknown": 8,
  "key-id-type": 9,
  "payload-base64": 10,
  "payload-json": 11,
  "issuer-type": 12,
  "subject-type": 13,
  "issued-at-type": 14,
  "issued-at-range": 15,
  "not-before-type": 16,
  "not-before-range": 17,
  "expires-type": 18,
  "expires-range": 19,
  "token-id-type": 20,
  "audience-type": 21,
  "signature-base64": 22,
  "signature-length": 23,
  "unknown-issuer": 24,
  audience: 25,
  verification: 26,
  "no-keys": 31,
  "no-matching-key": 32,
  "fetch-failed": 40,
};

/** What metadata say of it. */
export function statusIn(failure: JwtFailure): Readonly<Record<string, unknown>> {
  return { code: codes[failure], message: sentences[failure] };
}

export function sentenceOf(failure: JwtFailure): string {
  return sentences[failure];
}

/** 403 where who calls is known and the token is for somebody else; 401 where nobody is known. */
export function statusOf(failure: JwtFailure): number {
  return failure === "audience" ? 403 : 401;
}
