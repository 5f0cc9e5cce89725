/** One issuer of tokens as configured: whom its tokens are for, when they hold, and what they change. */
import type { JwtProvider } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { durationMs } from "../engine/duration.ts";
import { compileStringMatcher } from "../engine/string-matcher.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii, type TextPredicate } from "../engine/text-test.ts";
import { framingFields } from "../http/framing-fields.ts";
import { type ClaimText, compileClaim, compileNormalization } from "./claims.ts";
import type { JwtFailure } from "./failure.ts";
import type { JsonObject } from "./strict-json.ts";
import type { Token } from "./token.ts";
import { type KeySource, VerifiedTokens } from "./verified-tokens.ts";

const clockSkewDefaultS = 60;

export class Provider {
  readonly name: string;
  readonly config: JwtProvider;
  readonly keys: KeySource;
  readonly verified: VerifiedTokens;
  readonly claims: readonly { readonly header: string; readonly text: ClaimText }[];
  readonly normalize: (payload: JsonObject) => JsonObject;
  /** Headers that only a believed token may set. */
  readonly ownHeaders: readonly string[];
  readonly #audiences: ReadonlySet<string>;
  readonly #isSubject: TextPredicate | undefined;
  readonly #skewS: number;
  readonly #lifetimeMaxS: number | undefined;

  constructor(name: string, config: JwtProvider, keys: KeySource, path: string) {
    this.name = name;
    this.config = config;
    this.keys = keys;
    this.verified = new VerifiedTokens(config.jwtCacheConfig);
    this.claims = config.claimToHeaders.map((one, i) => ({
      header: ownHeader(one.headerName, `${path}.claim_to_headers[${i}].header_name`),
      text: compileClaim(one, `${path}.claim_to_headers[${i}]`),
    }));
    this.normalize = compileNormalization(config.normalizePayloadInMetadata);
    this.ownHeaders = [
      ...(config.forwardPayloadHeader === ""
        ? []
        : [ownHeader(config.forwardPayloadHeader, `${path}.forward_payload_header`)]),
      ...this.claims.map(({ header }) => header),
    ];
    this.#audiences = audiencesOf(config.audiences);
    this.#isSubject =
      config.subjects === undefined
        ? undefined
        : compileStringMatcher(config.subjects, `${path}.subjects`);
    this.#skewS = config.clockSkewSeconds || clockSkewDefaultS;
    const lifetimeMs = durationMs(config.maxLifetime);
    this.#lifetimeMaxS = lifetimeMs === undefined ? undefined : lifetimeMs / 1000;
  }

  /** All but the signature. `nowS`: of day; `audiences` instead of its own, where a rule names some. */
  check(
    token: Token,
    nowS: number,
    audiences: ReadonlySet<string> | undefined,
  ): JwtFailure | undefined {
    if (this.#isSubject?.(token.subject) === false) return "verification";
    if (!this.#isLifetimeAllowed(token, nowS)) return "verification";
    if (nowS + this.#skewS < token.notBefore) return "not-yet-valid";
    if (token.expires > 0 && nowS > token.expires + this.#skewS) return "expired";
    const wanted = audiences ?? this.#audiences;
    if (wanted.size > 0 && !token.audiences.some((one) => wanted.has(plainAudience(one)))) {
      return "audience";
    }
    return undefined;
  }

  /** What is left of it, as Envoy counts. */
  #isLifetimeAllowed({ expires }: Token, nowS: number): boolean {
    const maxS = this.#lifetimeMaxS;
    if (expires === 0) return !this.config.requireExpiration && maxS === undefined;
    return maxS === undefined || expires - nowS <= maxS;
  }
}

/** A name in lower case, of a header that a token may fill. */
function ownHeader(name: string, path: string): string {
  const lower = lowerAscii(name);
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower) || framingFields.has(lower)) {
    refuse(path, `'${name}' is no header that a token may fill`);
  }
  return lower;
}

export function audiencesOf(audiences: readonly string[]): ReadonlySet<string> {
  return new Set(audiences.map(plainAudience));
}

/** `https://a/`, `https://a` and `a` are one audience, as Envoy has it. */
function plainAudience(audience: string): string {
  return audience.replace(/^https?:\/\//, "").replace(/\/$/, "");
}
