/**
 * Asks a service whether a request may pass: Envoy's `ext_authz` filter over HTTP. The request waits,
 * and where there is no answer it is denied, unless the configuration says that it shall pass.
 */
import { honouredExtAuthz, honouredExtAuthzPerRoute } from "../config/honoured-auth.ts";
import { honoured } from "../config/honoured.ts";
import type { Clock } from "../../base/clock.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { HeadLimits } from "../../wire/http1-head.ts";
import {
  ExtAuthz,
  ExtAuthzPerRoute,
} from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { LayeredOverride } from "../engine/filter-overrides.ts";
import { compileMetadataMatcher, type MetadataPredicate } from "../engine/metadata-matcher.ts";
import { refuse } from "../engine/refusal.ts";
import { fractionOf } from "../engine/route-match.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { RunningCall } from "./cluster-call.ts";
import { callRepeatedly, type RepeatedCallServices } from "./repeated-call.ts";
import {
  type AuthzService,
  type CheckBody,
  compileBody,
  type Decision,
} from "./ext-authz-service.ts";
import {
  type AuthzCounters,
  clusterCounting,
  type ClusterCount,
  countersOf,
} from "./ext-authz-counters.ts";
import {
  type ApplyPermission,
  changesRoute,
  compilePermission,
  type Permission,
} from "./ext-authz-changes.ts";
import { compileChosenService, type ServiceChoice } from "./ext-authz-kinds.ts";
import type { FilterStream, FilterVerdict, HttpFilter, PauseTicket } from "./filter.ts";
import { flag } from "./response-flags.ts";

/** What metadata is filed under, whatever the filter is called. */
const namespace = "envoy.filters.http.ext_authz";
const statusOnErrorDefault = 403;

type BodyPlan = ReturnType<typeof compileBody>;

/** `body` undefined: as the filter says. */
export class ExtAuthzOverride {
  readonly isDisabled: boolean;
  readonly asksWithoutBody: boolean;
  readonly body: BodyPlan;
  readonly context: Readonly<Record<string, string>>;
  /** Asked instead of the filter's. */
  readonly service: RouteService | undefined;

  constructor({ isDisabled, asksWithoutBody, context, body, service }: OverrideFields) {
    this.isDisabled = isDisabled;
    this.asksWithoutBody = asksWithoutBody;
    this.body = body;
    this.context = context;
    this.service = service;
  }
}

type OverrideFields = Pick<ExtAuthzOverride, "isDisabled" | "asksWithoutBody" | "context"> &
  Partial<Pick<ExtAuthzOverride, "body" | "service">>;

/** What of its questions the filter says is known when a filter asks. */
interface RouteService extends ServiceChoice {
  readonly path: string;
}

/** The most specific. */
function overrideOf(stream: FilterStream, filter: string): ExtAuthzOverride | undefined {
  const override = stream.override(filter);
  const layer = override instanceof LayeredOverride ? override.layers[0] : undefined;
  return layer instanceof ExtAuthzOverride ? layer : undefined;
}

/** What every level tells the service; the most specific wins. */
function contextOf(override: unknown): Readonly<Record<string, string>> {
  if (!(override instanceof LayeredOverride)) return {};
  const context: Record<string, string> = {};
  for (const layer of override.layers.toReversed()) {
    if (layer instanceof ExtAuthzOverride) Object.assign(context, layer.context);
  }
  return context;
}

export function compileExtAuthzOverride(bytes: Uint8Array, path: string): unknown {
  return new LayeredOverride([compileOverride(bytes, path)]);
}

function compileOverride(bytes: Uint8Array, path: string): ExtAuthzOverride {
  const config = honoured(ExtAuthzPerRoute.decode(bytes), honouredExtAuthzPerRoute, path);
  if (config.disabled === true) {
    return new ExtAuthzOverride({ isDisabled: true, asksWithoutBody: false, context: {} });
  }
  const { checkSettings } = config;
  if (checkSettings === undefined) {
    return refuse(path, "needs disabled: true, or check_settings");
  }
  const { disableRequestBodyBuffering: asksWithoutBody, withRequestBody } = checkSettings;
  const place = `${path}.check_settings.with_request_body`;
  if (asksWithoutBody && withRequestBody !== undefined) {
    refuse(place, "stands beside disable_request_body_buffering");
  }
  const { contextExtensions: context, grpcService, httpService } = checkSettings;
  const hasOwn = grpcService !== undefined || httpService !== undefined;
  const service = hasOwn ? { grpcService, httpService, path: `${path}.check_settings` } : undefined;
  // To refuse what no filter could ask.
  if (service !== undefined) compileChosenService(service, ExtAuthz.fromPartial({}), service.path);
  const body = compileBody(withRequestBody, place);
  return new ExtAuthzOverride({ isDisabled: false, asksWithoutBody, body, context, service });
}

export interface ExtAuthzPlace extends RepeatedCallServices {
  readonly name: string;
  readonly path: string;
  readonly metrics: MetricRegistry;
  readonly clock: Clock;
  readonly statPrefix: string;
  /** Of requests; what a service adds counts, too. */
  readonly headLimits?: HeadLimits | undefined;
}

/** A request that is asked about, or whose body is awaited to be. */
interface Asked {
  readonly ticket: PauseTicket;
  readonly askedMs: number;
  call: RunningCall | undefined;
}

export function createExtAuthzFilter(bytes: Uint8Array, place: ExtAuthzPlace): HttpFilter {
  const config = honoured(ExtAuthz.decode(bytes), honouredExtAuthz, place.path);
  const filter = new ExtAuthzFilter(config, place);
  return {
    name: place.name,
    onRequest: (stream) => filter.onRequest(stream),
    onResponse: (stream) => filter.onResponse(stream),
    onStreamEnd: (stream) => filter.onStreamEnd(stream),
  };
}

class ExtAuthzFilter {
  readonly #config: ExtAuthz;
  readonly #place: ExtAuthzPlace;
  readonly #service: AuthzService;
  /** Made for the first request that needs one. */
  readonly #routeServices = new WeakMap<RouteService, AuthzService>();
  readonly #counters: AuthzCounters;
  readonly #body: BodyPlan;
  readonly #apply: ApplyPermission;
  /** Changes of these alone ask for a route again; undefined: of any. */
  readonly #routeFields: ReadonlySet<string> | undefined;
  readonly #share: number;
  readonly #isWanted: MetadataPredicate | undefined;
  readonly #statusOnError: number;
  readonly #isMetadataTaken: boolean;
  readonly #ofClusters: ReturnType<typeof clusterCounting>;
  readonly #asked = new Map<FilterStream, Asked>();
  /** What answers say to clients whose requests passed. */
  readonly #responses = new Map<FilterStream, Permission["response"]>();

  constructor(config: ExtAuthz, place: ExtAuthzPlace) {
    const { path } = place;
    this.#config = config;
    this.#place = place;
    this.#service = compileChosenService(config, config, path);
    this.#apply = compilePermission(config, path);
    const { clearRouteCacheHeaders: names } = config;
    this.#routeFields = names.length === 0 ? undefined : new Set(names.map(lowerAscii));
    this.#body = compileBody(config.withRequestBody, `${path}.with_request_body`);
    const enabled = config.filterEnabled?.defaultValue;
    this.#share = enabled === undefined ? 1 : fractionOf(enabled);
    const wanted = config.filterEnabledMetadata;
    this.#isWanted =
      wanted === undefined
        ? undefined
        : compileMetadataMatcher(wanted, `${path}.filter_enabled_metadata`);
    this.#statusOnError = config.statusOnError?.code || statusOnErrorDefault;
    this.#isMetadataTaken = config.enableDynamicMetadataIngestion ?? true;
    this.#counters = countersOf(config, place);
    this.#ofClusters = clusterCounting(config, place.metrics);
  }

  onRequest(stream: FilterStream): FilterVerdict {
    const own = overrideOf(stream, this.#place.name);
    if (own?.isDisabled === true) return "continue";
    if (!this.#isEnabled(stream)) {
      this.#counters.disabled.add();
      if (this.#config.denyAtDisable?.defaultValue !== true) return "continue";
      return this.#fail(stream);
    }
    const plan = own?.asksWithoutBody === true ? undefined : (own?.body ?? this.#body);
    const asked: Asked = {
      ticket: stream.pauses.pause(),
      askedMs: this.#place.clock.monotonicMs(),
      call: undefined,
    };
    this.#asked.set(stream, asked);
    if (plan === undefined || stream.requestBody.isComplete || stream.upgrade !== "") {
      this.#ask(stream, asked, undefined);
      return "wait";
    }
    stream.pauses.readBody(
      { onRequestBody: () => this.#onBody(stream, asked, plan) },
      plan.bytesMax,
    );
    return "wait";
  }

  #isEnabled({ request, random }: FilterStream): boolean {
    if (this.#share < 1 && random() >= this.#share) return false;
    return this.#isWanted === undefined || this.#isWanted(request.metadata);
  }

  #onBody(stream: FilterStream, asked: Asked, plan: NonNullable<BodyPlan>): void {
    if (asked.call !== undefined || !stream.pauses.isPaused(asked.ticket)) return;
    const { bytes, isComplete, pieces } = stream.requestBody;
    if (bytes > plan.bytesMax && !plan.allowsPartial) {
      this.#asked.delete(stream);
      stream.reply("direct", {
        status: 413,
        body: "Payload Too Large",
        details: "request_payload_too_large",
        speaksGrpc: true,
      });
      return;
    }
    if (!isComplete && !(plan.allowsPartial && bytes >= plan.bytesMax)) return;
    const all = Buffer.concat(pieces, Math.min(bytes, plan.bytesMax));
    this.#ask(stream, asked, { bytes: all, isPartial: all.length < bytes });
  }

  #ask(stream: FilterStream, asked: Asked, body: CheckBody | undefined): void {
    const { request, record } = stream;
    record.times.beginAuthorization(this.#place.clock.monotonicMs());
    const contextExtensions = contextOf(stream.override(this.#place.name));
    const service = this.#serviceOf(stream);
    const question = service.question({ request, record, contextExtensions }, body);
    const onDecision = (decision: Decision): void => this.#onDecision(stream, asked, decision);
    if (question === undefined) return onDecision({ kind: "error" });
    asked.call = callRepeatedly(this.#place, question, service.retry, {
      onAnswer: (answer) => onDecision(service.decide(answer)),
      onFailure: () => onDecision({ kind: "error" }),
    });
  }

  /** The most specific level says whom to ask, or the filter. */
  #serviceOf(stream: FilterStream): AuthzService {
    const own = overrideOf(stream, this.#place.name)?.service;
    if (own === undefined) return this.#service;
    const known = this.#routeServices.get(own);
    if (known !== undefined) return known;
    const made = compileChosenService(own, this.#config, own.path);
    this.#routeServices.set(own, made);
    return made;
  }

  #onDecision(stream: FilterStream, asked: Asked, decision: Decision): void {
    if (!stream.pauses.isPaused(asked.ticket)) return;
    stream.record.times.endAuthorization(this.#place.clock.monotonicMs());
    this.#asked.delete(stream);
    switch (decision.kind) {
      case "error":
        this.#count(stream, "error");
        if (decision.answer !== undefined) this.#tell(stream, decision.answer.metadata);
        if (!this.#config.failureModeAllow) return void this.#fail(stream, decision.answer);
        this.#count(stream, "failureModeAllowed");
        if (this.#config.failureModeAllowHeaderAdd) {
          stream.request.headers.set("x-envoy-auth-failure-mode-allowed", "true");
        }
        break;
      case "denied":
        this.#count(stream, "denied");
        if (decision.isCut) this.#counters.cutDenials.add();
        this.#tell(stream, decision.metadata);
        return answerFor(stream, {
          ...decision,
          body: this.#cut(decision.body),
          details: "ext_authz_denied",
        });
      case "invalid":
        return this.#reject(stream);
      case "allowed":
        if (!this.#allow(stream, asked, decision)) return this.#reject(stream);
    }
    stream.pauses.resume(asked.ticket);
  }

  /** For the connection manager, and for the cluster that the request is for. */
  #count({ outcome }: FilterStream, what: ClusterCount): void {
    this.#counters[what].add();
    if (outcome.kind !== "forward") return;
    const cluster = this.#place.clusters.get(outcome.cluster);
    if (cluster === undefined) return;
    this.#ofClusters(what, cluster.statName).add();
  }

  /** False: what the service wants changed cannot be, or its head would be too large. */
  #allow(stream: FilterStream, asked: Asked, decision: Permission): boolean {
    const { response, metadata } = decision;
    if (!this.#apply(stream.request, decision) || this.#isTooLarge(stream)) return false;
    this.#count(stream, "ok");
    if (response.length > 0) this.#responses.set(stream, response);
    this.#tell(stream, metadata, asked);
    if (this.#config.clearRouteCache && changesRoute(decision, this.#routeFields)) {
      stream.refreshRoute();
    }
    return true;
  }

  #isTooLarge({ record }: FilterStream): boolean {
    const { headLimits: limits } = this.#place;
    if (limits === undefined) return false;
    return (
      record.requestHeadCount > limits.fieldsMax ||
      record.headBytes("request") > limits.headBytesMax
    );
  }

  /** Of a request that passes it is told, too, how long that took. */
  #tell(stream: FilterStream, metadata: Readonly<Record<string, unknown>>, passed?: Asked): void {
    if (Object.keys(metadata).length === 0) return;
    if (!this.#isMetadataTaken) return this.#counters.ignoredMetadata.add();
    if (passed === undefined) return stream.request.addMetadata(namespace, metadata);
    const tookMs = Math.floor(this.#place.clock.monotonicMs() - passed.askedMs);
    stream.request.addMetadata(namespace, { ...metadata, ext_authz_duration: tookMs });
  }

  #reject(stream: FilterStream): void {
    this.#count(stream, "invalid");
    answerFor(stream, { status: 500, body: "", fields: [], details: "ext_authz_invalid" });
  }

  /** No answer, or none is wanted: nobody can say that the request may pass. */
  #fail(
    stream: FilterStream,
    answer?: Extract<Decision, { kind: "error" }>["answer"],
  ): FilterVerdict {
    const { status = 0, body = "", fields = [] } = answer ?? {};
    answerFor(stream, {
      status: status === 0 ? this.#statusOnError : status,
      body: this.#cut(body),
      fields,
      details: "ext_authz_error",
    });
    return "answered";
  }

  /** One byte a unit; 0 is no bound. */
  #cut(body: string): string {
    const bytesMax = this.#config.maxDeniedResponseBodyBytes;
    return bytesMax === 0 ? body : body.slice(0, bytesMax);
  }

  onResponse(stream: FilterStream): void {
    const { responseHeaders: headers } = stream;
    for (const [name, value, action] of this.#responses.get(stream) ?? []) {
      const mayAdd = action === "add" || (action === "add-if-absent" && !headers.has(name));
      if (mayAdd) headers.add(name, value);
      else if (action === "set" || (action === "overwrite-if-exists" && headers.has(name))) {
        headers.set(name, value);
      }
    }
  }

  onStreamEnd(stream: FilterStream): void {
    this.#responses.delete(stream);
    const asked = this.#asked.get(stream);
    if (asked === undefined) return;
    this.#asked.delete(stream);
    asked.call?.cancel();
  }
}

/** What the service says to the client, as it says it. */
function answerFor(
  stream: FilterStream,
  said: Pick<Extract<Decision, { kind: "denied" }>, "status" | "body" | "fields"> & {
    readonly details: string;
  },
): void {
  const { responseHeaders: headers, record } = stream;
  record.flags |= flag.externalAuthorizationDenied;
  for (const [name] of said.fields) headers.remove(name);
  for (const [name, value] of said.fields) headers.add(name, value);
  const { status, body, details } = said;
  stream.reply("direct", { status, body, details, speaksGrpc: true });
}
