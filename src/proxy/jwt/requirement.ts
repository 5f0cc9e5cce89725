/**
 * What a rule requires of a request's tokens, as a tree, and how it is looked at. A look has no side
 * effects: it ends with a verdict and what to change, or with keys that are not here. Whoever has
 * fetched them looks again from the start.
 */
import type {
  JwtRequirement,
  JwtProvider,
} from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { refuse } from "../engine/refusal.ts";
import type { JwtFailure } from "./failure.ts";
import type { KeySet } from "./keys.ts";
import {
  type FoundToken,
  isIssuerOf,
  TokenLocations,
  type TokenPlace,
  type TokenRequest,
} from "./locations.ts";
import { audiencesOf, type Provider } from "./provider.ts";
import { parseToken, type Token } from "./token.ts";
import type { KeySource } from "./verified-tokens.ts";

/** A token that holds, and where it stood. */
export interface BelievedToken {
  readonly provider: Provider;
  readonly token: Token;
  readonly place: TokenPlace;
}

/** Whose token it would have been. */
export interface TokenFailure {
  readonly provider: Provider;
  readonly failure: JwtFailure;
}

export interface Requirement {
  check(look: Look): JwtFailure | undefined;
  /** Headers that requests may not bring themselves where this is required. */
  readonly ownHeaders: readonly string[];
}

export type LookResult =
  | { readonly kind: "wait"; readonly keys: KeySource }
  | {
      readonly kind: "done";
      readonly failure: JwtFailure | undefined;
      readonly believed: readonly BelievedToken[];
      /** Also of those that are no reason to refuse the request. */
      readonly failures: readonly TokenFailure[];
    };

export interface LookedAt {
  readonly request: TokenRequest;
  /** Of day, in seconds. */
  readonly nowS: number;
  /** What this request has waited for already, and whether it came: it waits for nothing twice. */
  readonly fetched: ReadonlyMap<KeySource, boolean>;
  readonly onVerified?: (wasKnown: boolean) => void;
}

export function lookAt(requirement: Requirement, looked: LookedAt): LookResult {
  const look = new Look(looked);
  const failure = requirement.check(look);
  if (look.wanted !== undefined) return { kind: "wait", keys: look.wanted };
  return { kind: "done", failure, believed: look.believed, failures: look.failures };
}

/** One pass over a tree. Once keys are wanted, what it finds means nothing. */
export class Look {
  readonly looked: LookedAt;
  readonly believed: BelievedToken[] = [];
  readonly failures: TokenFailure[] = [];
  /** `header authorization`: its token is taken out as soon as it is believed. */
  readonly taken: Set<`${TokenPlace["kind"]} ${string}`> = new Set();
  wanted: KeySource | undefined = undefined;

  constructor(looked: LookedAt) {
    this.looked = looked;
  }

  /** Those that serve; or none do, perhaps because they are wanted first. */
  keysOf({ keys }: Provider): KeySet | JwtFailure {
    const state = keys.state();
    switch (state.kind) {
      case "here":
        return state.keys;
      case "wanted": {
        const isFetched = this.looked.fetched.get(keys);
        if (isFetched === undefined) this.wanted = keys;
        return (isFetched === true ? keys.latest() : undefined) ?? "fetch-failed";
      }
    }
  }

  believe(provider: Provider, token: Token, place: TokenPlace): void {
    this.believed.push({ provider, token, place });
    if (!provider.config.forward) this.taken.add(`${place.kind} ${place.name}`);
  }
}

/** Each costs a signature. Nobody sends more, so of more none is believed. */
const tokensMax = 16;

/** Requirements in each other; nobody writes more. */
const depthMax = 16;

export type Providers = ReadonlyMap<string, Provider>;

export function compileRequirement(
  config: JwtRequirement,
  providers: Providers,
  ...[path, depth = 0]: [path: string, depth?: number]
): Requirement {
  if (depth > depthMax) refuse(path, `more than ${depthMax} requirements stand in each other`);
  const parts = (list: readonly JwtRequirement[], field: string): readonly Requirement[] =>
    list.map((one, i) =>
      compileRequirement(one, providers, `${path}.${field}.requirements[${i}]`, depth + 1),
    );
  if (config.providerName !== undefined) {
    return oneProvider(findProvider(providers, config.providerName, `${path}.provider_name`), []);
  }
  if (config.providerAndAudiences !== undefined) {
    const { providerName, audiences } = config.providerAndAudiences;
    const place = `${path}.provider_and_audiences.provider_name`;
    return oneProvider(findProvider(providers, providerName, place), audiences);
  }
  if (config.requiresAll !== undefined) {
    return all(parts(config.requiresAll.requirements, "requires_all"));
  }
  if (config.requiresAny !== undefined) {
    const { requirements } = config.requiresAny;
    const isLenient = (one: JwtRequirement): boolean =>
      one.allowMissing !== undefined || one.allowMissingOrFailed !== undefined;
    const strict = requirements.filter((one) => !isLenient(one));
    return any(
      parts(strict.length === 0 ? requirements : strict, "requires_any"),
      requirements.some((one) => one.allowMissing !== undefined),
      requirements.some((one) => one.allowMissingOrFailed !== undefined),
    );
  }
  if (config.allowMissingOrFailed !== undefined) return lenient(providers, true);
  if (config.allowMissing !== undefined) return lenient(providers, false);
  if (config.extractOnlyWithoutValidation !== undefined) {
    refuse(`${path}.extract_only_without_validation`, "is not supported");
  }
  return nothing;
}

/** Of a rule that requires nothing. */
const nothing: Requirement = { check: () => undefined, ownHeaders: [] };

function findProvider(providers: Providers, name: string, path: string): Provider {
  return providers.get(name) ?? refuse(path, `there is no provider '${name}'`);
}

function oneProvider(provider: Provider, ownAudiences: readonly string[]): Requirement {
  const locations = new TokenLocations([provider.config]);
  const read = (text: string): Token | undefined => provider.verified.read(text);
  const audiences = ownAudiences.length === 0 ? undefined : audiencesOf(ownAudiences);
  return {
    ownHeaders: provider.ownHeaders,
    check(look) {
      const failure = checkTokens(look);
      // Of a token that is not there Envoy says nothing, either.
      if (failure !== undefined && failure !== "missing") look.failures.push({ provider, failure });
      return failure;
    },
  };

  function checkTokens(look: Look): JwtFailure | undefined {
    const found = locations.find(look.looked.request, look.taken);
    if (found.length === 0) return "missing";
    if (found.length > tokensMax) return "bad-format";
    // A good token beside a bad one must not pass: those behind us may take the other.
    for (const one of found.toReversed()) {
      const failure = checkToken(look, one, () => provider, audiences, read);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }
}

/** Tokens of any provider, if there are any. */
function lenient(providers: Providers, allowsFailed: boolean): Requirement {
  const configs: readonly JwtProvider[] = [...providers.values()].map(({ config }) => config);
  const locations = new TokenLocations(configs);
  const byIssuer = (issuer: string): Provider | undefined => {
    const all = [...providers.values()];
    return (
      all.find(({ config }) => config.issuer === issuer) ??
      all.find(({ config }) => config.issuer === "")
    );
  };
  return {
    ownHeaders: [...providers.values()].flatMap(({ ownHeaders }) => ownHeaders),
    check(look) {
      const found = locations.find(look.looked.request, look.taken);
      if (found.length > tokensMax) return allowsFailed ? undefined : "bad-format";
      for (const one of found.toReversed()) {
        let provider: Provider | undefined;
        const find = (issuer: string): Provider | undefined => (provider = byIssuer(issuer));
        const failure = checkToken(look, one, find, undefined);
        if (failure !== undefined && provider !== undefined) {
          look.failures.push({ provider, failure });
        }
        if (look.wanted !== undefined) return failure;
        if (failure !== undefined && !allowsFailed) return failure;
      }
      return undefined;
    },
  };
}

function checkToken(
  look: Look,
  { text, place }: FoundToken,
  ...[providerOf, audiences, read]: [
    providerOf: (issuer: string) => Provider | undefined,
    audiences: ReadonlySet<string> | undefined,
    read?: (text: string) => Token | undefined,
  ]
): JwtFailure | undefined {
  const token = read?.(text) ?? parseToken(text);
  if (typeof token === "string") return token;
  if (!isIssuerOf(place, token.issuer)) return "unknown-issuer";
  const provider = providerOf(token.issuer);
  if (provider === undefined) return "unknown-issuer";
  const failure = provider.check(token, look.looked.nowS, audiences);
  if (failure !== undefined) return failure;
  const keys = look.keysOf(provider);
  if (typeof keys === "string") return keys;
  const isKnown = provider.verified.has(text, keys);
  look.looked.onVerified?.(isKnown);
  if (!isKnown) {
    const unsigned = keys.verify(token);
    if (unsigned !== undefined) return unsigned;
    provider.verified.add(text, token);
  }
  look.believe(provider, token, place);
  return undefined;
}

function all(parts: readonly Requirement[]): Requirement {
  return {
    ownHeaders: parts.flatMap(({ ownHeaders }) => ownHeaders),
    check(look) {
      for (const part of parts) {
        const failure = part.check(look);
        if (failure !== undefined || look.wanted !== undefined) return failure;
      }
      return undefined;
    },
  };
}

function any(
  parts: readonly Requirement[],
  ...[allowsMissing, allowsFailed]: [allowsMissing: boolean, allowsFailed: boolean]
): Requirement {
  return {
    ownHeaders: parts.flatMap(({ ownHeaders }) => ownHeaders),
    check(look) {
      let failure: JwtFailure = "missing";
      for (const part of parts) {
        const own = part.check(look);
        if (own === undefined || look.wanted !== undefined) return own;
        // What was wrong with a token says more than that another has none.
        if ((own !== "missing" && own !== "unknown-issuer") || failure === "missing") failure = own;
      }
      if (allowsFailed || (allowsMissing && failure === "missing")) return undefined;
      return failure;
    },
  };
}
