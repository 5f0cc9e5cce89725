/** What a believed token says to those behind the proxy: claims in headers, its payload as metadata. */
import type {
  JwtClaimToHeader,
  JwtProvider_NormalizePayload,
} from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { refuse } from "../engine/refusal.ts";
import type { JsonObject } from "./strict-json.ts";

/** A header value of bytes; undefined where the payload has nothing to say. */
export type ClaimText = (payload: JsonObject) => string | undefined;

export function compileClaim({ claimName, claimPath }: JwtClaimToHeader, path: string): ClaimText {
  if (claimPath.length > 0) refuse(`${path}.claim_path`, "is not supported");
  if (claimName === "") refuse(`${path}.claim_name`, "is required");
  const keys = claimName.split(".");
  return (payload) => {
    let at: unknown = payload;
    for (const key of keys) {
      if (typeof at !== "object" || at === null || Array.isArray(at)) return undefined;
      at = Object.getOwnPropertyDescriptor(at, key)?.value;
    }
    const text = claimText(at);
    return text === undefined || text === "" ? undefined : asBytes(text);
  };
}

/** Numbers as C++ writes them: whole ones as they are, others with six decimals. */
function claimText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") {
    const isWhole = value >= 0 && value < 2 ** 64 && Number.isInteger(value);
    return isWhole ? BigInt(value).toString() : value.toFixed(6);
  }
  if (typeof value !== "object" || value === null) return undefined;
  // As protobuf writes JSON.
  const json = JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll(">", "\\u003e");
  return Buffer.from(json).toString("base64");
}

/** One unit per byte, as headers are kept; what could end a line is no value. */
function asBytes(text: string): string | undefined {
  const bytes = Buffer.from(text).toString("latin1");
  return /[^\t\x20-\x7e\x80-\xff]/.test(bytes) ? undefined : bytes;
}

/** Claims that are lists in one text become lists. */
export function compileNormalization(
  config: JwtProvider_NormalizePayload | undefined,
): (payload: JsonObject) => JsonObject {
  const claims = config?.spaceDelimitedClaims ?? [];
  if (claims.length === 0) return (payload) => payload;
  return (payload) => {
    const lists = claims.flatMap((claim) => {
      const value = Object.getOwnPropertyDescriptor(payload, claim)?.value;
      if (typeof value !== "string") return [];
      return [[claim, value.split(" ").filter((word) => word !== "")] as const];
    });
    return lists.length === 0 ? payload : { ...payload, ...Object.fromEntries(lists) };
  };
}
