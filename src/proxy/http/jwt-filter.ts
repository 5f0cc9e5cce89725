/** Tokens of requests: Envoy's `jwt_authn` filter. `proxy/jwt` decides, this waits, changes and answers. */
import { honouredJwt, honouredJwtPerRoute } from "../config/honoured-auth.ts";
import { honoured } from "../config/honoured.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import {
  JwtAuthentication,
  PerRouteConfig,
} from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import type { Clock } from "../../base/clock.ts";
import { refuse } from "../engine/refusal.ts";
import { joinPreparations } from "../preparation.ts";
import { type JwtFailure, sentenceOf, statusIn, statusOf } from "../jwt/failure.ts";
import { compileProviders } from "../jwt/providers.ts";
import {
  type BelievedToken,
  lookAt,
  type Requirement,
  type TokenFailure,
} from "../jwt/requirement.ts";
import { compileRules, type JwtRules } from "../jwt/rules.ts";
import { withoutParameter } from "../jwt/locations.ts";
import type { KeySource } from "../jwt/verified-tokens.ts";
import type { CallServices } from "./cluster-call.ts";
import type { FilterStream, FilterVerdict, HttpFilter, PauseTicket } from "./filter.ts";

/** What metadata is filed under, whatever the filter is called. */
const namespace = "envoy.filters.http.jwt_authn";
const realmPathMax = 256;

/** Undefined: no token is asked for on this route. */
export class JwtOverride {
  readonly requirementName: string | undefined;

  constructor(requirementName: string | undefined) {
    this.requirementName = requirementName;
  }
}

export function compileJwtOverride(bytes: Uint8Array, path: string): JwtOverride {
  const config = honoured(PerRouteConfig.decode(bytes), honouredJwtPerRoute, path);
  if (config.disabled === true) return new JwtOverride(undefined);
  const { requirementName = "" } = config;
  if (requirementName === "") refuse(path, "needs requirement_name, or disabled: true");
  return new JwtOverride(requirementName);
}

export interface JwtFilterPlace extends CallServices {
  readonly name: string;
  readonly path: string;
  readonly metrics: MetricRegistry;
  readonly clock: Clock;
  readonly random: () => number;
  readonly statPrefix: string;
}

interface Counters {
  readonly allowed: Counter;
  readonly denied: Counter;
  readonly preflightsBypassed: Counter;
  readonly fetched: Counter;
  readonly fetchFailed: Counter;
  readonly cacheHit: Counter;
  readonly cacheMiss: Counter;
}

export function createJwtFilter(bytes: Uint8Array, place: JwtFilterPlace): HttpFilter {
  const config = honoured(JwtAuthentication.decode(bytes), honouredJwt, place.path);
  const counters = countersOf(config, place);
  const providers = compileProviders(config, place.path, {
    ...place,
    onFetched: (isFetched) => (isFetched ? counters.fetched : counters.fetchFailed).add(),
  });
  const rules = compileRules(config, providers, place.path);
  const filter = new JwtFilter(place, { config, rules, counters });
  return {
    name: place.name,
    onRequest: (stream) => filter.onRequest(stream),
    onStreamEnd: (stream) => filter.onStreamEnd(stream),
    preparation: joinPreparations([...providers.values()].map(({ keys }) => keys.ahead)),
  };
}

function countersOf(config: JwtAuthentication, place: JwtFilterPlace): Counters {
  const own = config.statPrefix === "" ? "" : `${config.statPrefix.replaceAll(/\W/g, "_")}_`;
  const counter = (suffix: string, help: string): Counter =>
    place.metrics.counter(`envoy_http_jwt_authn_${own}${suffix}`, help, {
      http_conn_manager_prefix: place.statPrefix,
    });
  return {
    allowed: counter("allowed", "Requests that tokens, or their absence, did not stop"),
    denied: counter("denied", "Requests answered for want of a token that holds"),
    preflightsBypassed: counter("cors_preflight_bypassed", "Preflights not asked for a token"),
    fetched: counter("jwks_fetch_success", "Key sets that came from their servers"),
    fetchFailed: counter("jwks_fetch_failed", "Key sets that could not be fetched"),
    cacheHit: counter("jwt_cache_hit", "Tokens whose signature was known to hold"),
    cacheMiss: counter("jwt_cache_miss", "Tokens whose signature had to be verified"),
  };
}

interface Compiled {
  readonly config: JwtAuthentication;
  readonly rules: JwtRules;
  readonly counters: Counters;
}

/** A request that waits for keys. */
interface Waiting {
  readonly ticket: PauseTicket;
  readonly requirement: Requirement;
  readonly fetched: Map<KeySource, boolean>;
  cancel: () => void;
}

const nothingFetched: ReadonlyMap<KeySource, boolean> = new Map();

class JwtFilter {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #config: JwtAuthentication;
  readonly #rules: JwtRules;
  readonly #counters: Counters;
  readonly #waiting = new Map<FilterStream, Waiting>();

  constructor({ name, clock }: JwtFilterPlace, { config, rules, counters }: Compiled) {
    this.#name = name;
    this.#clock = clock;
    this.#config = config;
    this.#rules = rules;
    this.#counters = counters;
  }

  onRequest(stream: FilterStream): FilterVerdict {
    const { request } = stream;
    if (this.#config.bypassCorsPreflight && isPreflight(stream)) {
      this.#counters.preflightsBypassed.add();
      this.#counters.allowed.add();
      return "continue";
    }
    const override = stream.override(this.#name);
    let requirement: Requirement | undefined;
    if (override instanceof JwtOverride) {
      const { requirementName: wanted } = override;
      requirement = wanted === undefined ? undefined : this.#rules.byName.get(wanted);
      if (wanted !== undefined && requirement === undefined) return this.#refuse(stream, wanted);
    } else {
      requirement = this.#rules.find(request);
    }
    if (requirement === undefined) {
      this.#counters.allowed.add();
      return "continue";
    }
    for (const header of requirement.ownHeaders) request.headers.remove(header);
    return this.#look(stream, requirement, undefined);
  }

  #look(
    stream: FilterStream,
    requirement: Requirement,
    waiting: Waiting | undefined,
  ): FilterVerdict {
    const { request } = stream;
    const { cacheHit, cacheMiss } = this.#counters;
    const result = lookAt(requirement, {
      request: { path: request.path, headerValues: (name) => valuesOf(stream, name) },
      nowS: Math.floor(this.#clock.nowMs() / 1000),
      fetched: waiting?.fetched ?? nothingFetched,
      onVerified: (wasKnown) => (wasKnown ? cacheHit : cacheMiss).add(),
    });
    if (result.kind === "wait") return this.#wait(stream, requirement, waiting, result.keys);
    tellMetadata(stream, result.believed);
    tellFailures(stream, result.failures);
    if (result.failure !== undefined) return this.#deny(stream, result.failure);
    this.#counters.allowed.add();
    apply(stream, result.believed);
    return "continue";
  }

  #wait(
    stream: FilterStream,
    requirement: Requirement,
    ...[before, keys]: [before: Waiting | undefined, keys: KeySource]
  ): FilterVerdict {
    const waiting: Waiting = before ?? {
      ticket: stream.pauses.pause(),
      requirement,
      fetched: new Map(),
      cancel: () => {},
    };
    this.#waiting.set(stream, waiting);
    stream.record.times.beginAuthorization(this.#clock.monotonicMs());
    let hasAnswered = false;
    const cancel = keys.fetch((isFetched) => {
      hasAnswered = true;
      this.#onKeys(stream, waiting, keys, isFetched);
    });
    if (!hasAnswered) waiting.cancel = cancel;
    return "wait";
  }

  #onKeys(
    stream: FilterStream,
    waiting: Waiting,
    ...[keys, isFetched]: [keys: KeySource, isFetched: boolean]
  ): void {
    if (!stream.pauses.isPaused(waiting.ticket)) return;
    stream.record.times.endAuthorization(this.#clock.monotonicMs());
    waiting.fetched.set(keys, isFetched);
    const verdict = this.#look(stream, waiting.requirement, waiting);
    if (verdict === "wait") return;
    this.#waiting.delete(stream);
    if (verdict === "continue") stream.pauses.resume(waiting.ticket);
  }

  onStreamEnd(stream: FilterStream): void {
    const waiting = this.#waiting.get(stream);
    if (waiting === undefined) return;
    this.#waiting.delete(stream);
    waiting.cancel();
  }

  #deny(stream: FilterStream, failure: JwtFailure): FilterVerdict {
    const sentence = sentenceOf(failure);
    const status = statusOf(failure);
    const details = detailsOf(sentence);
    this.#counters.denied.add();
    if (this.#config.stripFailureResponse) {
      stream.reply("direct", { status, details, speaksGrpc: true });
      return "answered";
    }
    const { request } = stream;
    const path = request.header("x-envoy-original-path") ?? request.path;
    const scheme = request.header("x-forwarded-proto") ?? "";
    const uri = `${scheme}://${request.authority}${path.slice(0, realmPathMax)}`;
    const error = failure === "missing" ? "" : ', error="invalid_token"';
    stream.reply("direct", {
      status,
      body: sentence,
      details,
      speaksGrpc: true,
      headers: [["www-authenticate", `Bearer realm="${uri}"${error}`]],
    });
    return "answered";
  }

  /** A route asks for a requirement that is not there: nobody can say who may pass. */
  #refuse(stream: FilterStream, wanted: string): FilterVerdict {
    const names = [...this.#rules.byName.keys()].join(",");
    const reason = `Wrong requirement_name: ${wanted}. It should be one of [${names}]`;
    this.#counters.denied.add();
    stream.reply("direct", {
      status: 403,
      details: detailsOf(reason),
      speaksGrpc: true,
      ...(this.#config.stripFailureResponse
        ? {}
        : { body: `Failed JWT authentication: ${reason}` }),
    });
    return "answered";
  }
}

/** One word, for logs. */
function detailsOf(reason: string): string {
  return `jwt_authn_access_denied{${reason.replaceAll(/\s/g, "_")}}`;
}

function isPreflight({ request }: FilterStream): boolean {
  const has = (name: string): boolean => (request.header(name) ?? "") !== "";
  return request.method === "OPTIONS" && has("origin") && has("access-control-request-method");
}

/** Envoy keeps credentials in one field: several are one, that is none. */
function valuesOf({ request }: FilterStream, name: string): readonly string[] {
  if (name !== "authorization") return request.headers.values(name);
  const joined = request.headers.get(name);
  return joined === undefined ? [] : [joined];
}

/** For policies and logs; for logs also where another token is missing. */
function tellMetadata({ request }: FilterStream, believed: readonly BelievedToken[]): void {
  for (const { provider, token } of believed) {
    const { headerInMetadata, payloadInMetadata } = provider.config;
    if (headerInMetadata !== "") {
      request.addMetadata(namespace, { [headerInMetadata]: token.header });
    }
    if (payloadInMetadata !== "") {
      const payload = provider.normalize(token.payload);
      request.addMetadata(namespace, { [payloadInMetadata]: payload });
    }
  }
}

/** For logs, and for filters that decide by what is wrong with a token. */
function tellFailures({ request }: FilterStream, failures: readonly TokenFailure[]): void {
  for (const { provider, failure } of failures) {
    const name = provider.config.failedStatusInMetadata;
    if (name !== "") request.addMetadata(namespace, { [name]: statusIn(failure) });
  }
}

/** What believed tokens change for those behind. */
function apply(stream: FilterStream, believed: readonly BelievedToken[]): void {
  const { request } = stream;
  let clearsRoute = false;
  for (const { provider, token, place } of believed) {
    const { config } = provider;
    if (config.forwardPayloadHeader !== "") {
      const padding = config.padForwardPayloadHeader
        ? "=".repeat((4 - (token.payloadText.length % 4)) % 4)
        : "";
      request.headers.add(config.forwardPayloadHeader.toLowerCase(), token.payloadText + padding);
    }
    for (const { header, text } of provider.claims) {
      const value = text(token.payload);
      if (value !== undefined) request.headers.add(header, value);
    }
    if (!config.forward && place.kind === "header") request.headers.remove(place.name);
    if (!config.forward && place.kind === "parameter") {
      request.changePath(withoutParameter(request.path, place.name));
    }
    clearsRoute ||= config.clearRouteCache;
  }
  if (clearsRoute) stream.refreshRoute();
}
