/**
 * Follows an answer that redirects, in the client's place: its request is answered for the log and
 * begins again, as if it had come for the other place. Not done for a request whose body is not here
 * whole, or for a place that no route leads to.
 */
import { feedHead } from "../../wire/http1-parser.ts";
import { Http1Head } from "../../wire/http1-head.ts";
import type { ClusterCounters } from "../context.ts";
import {
  type RedirectPlan,
  type RedirectTarget,
  redirectTarget,
} from "../engine/internal-redirect.ts";
import type { HttpStream } from "./http-stream.ts";
import type { UpstreamTarget } from "./request-head-writer.ts";

/** What a request that was redirected has been through. */
interface Journey {
  /** Of the stream, at the last redirect. */
  generation: number;
  count: number;
  /** Routes that redirects have led to, by the route that they came from. */
  readonly visited: Map<string, Set<string>>;
}

const journeys = new WeakMap<HttpStream, Journey>();

/** Refused otherwise, as any request with such a head would have been. */
const headBytesMax = 1 << 20;
const fieldsMax = 1000;

export interface Redirection {
  readonly plan: RedirectPlan;
  readonly answer: Http1Head;
  /** As the answering endpoint was asked. */
  readonly asked: Readonly<UpstreamTarget>;
  /** How long the endpoint took. */
  readonly durationMs: number;
  /** The endpoint's side has nothing to do with the request any more. */
  readonly leave: () => void;
}

/** False: the answer is the client's. */
export function followRedirect(
  stream: HttpStream,
  redirection: Redirection,
  counters: ClusterCounters | undefined,
): boolean {
  const isFollowed = follow(stream, redirection, counters);
  counters?.onRedirect(isFollowed);
  return isFollowed;
}

function follow(
  stream: HttpStream,
  redirection: Redirection,
  counters: ClusterCounters | undefined,
): boolean {
  const { plan, answer } = redirection;
  const location = answer.joined("location");
  const { body, request, route } = stream;
  const count = (name: string): false => {
    const { context, settings } = stream.services;
    const help = "Redirects that were passed on.";
    const labels = { http_conn_manager_prefix: settings.statPrefix };
    context.metrics.counter(`envoy_http_passthrough_internal_redirect_${name}`, help, labels).add();
    return false;
  };
  if (!body.isComplete || !body.isWhole || location === undefined) return false;
  const target = redirectTarget(location);
  if (target === undefined) return count("bad_location");
  if (!plan.crossesSchemes && target.scheme !== request.scheme) return count("unsafe_scheme");
  const journey = journeyOf(stream);
  if (journey.count >= plan.max) return count("too_many_redirects");
  const before = replaceHeaders(stream, redirection);
  const name = nextRoute(stream, target);
  const isRefused = name === undefined || !isAccepted({ plan, journey, target, stream }, name);
  if (isRefused || route === undefined) {
    for (const [header, values] of before) {
      request.headers.remove(header);
      for (const value of values) request.headers.add(header, value);
    }
    return count(name === undefined ? "no_route" : "predicate");
  }
  counters?.onResponse(answer.status, redirection.durationMs);
  journey.count++;
  // Of the request that begins now: it may be over, and the next one there, when `begin()` returns.
  journey.generation = stream.generation + 1;
  journeys.set(stream, journey);
  begin(stream, redirection, target);
  return true;
}

function journeyOf(stream: HttpStream): Journey {
  const known = journeys.get(stream);
  if (known?.generation === stream.generation) return known;
  return { generation: stream.generation, count: 0, visited: new Map() };
}

type Replaced = readonly (readonly [name: string, values: readonly string[]])[];

/** Those of the answer take the place of the request's; returns what was there. */
function replaceHeaders({ request }: HttpStream, { plan, answer }: Redirection): Replaced {
  return plan.headers.map((name) => {
    const before = request.headers.values(name);
    request.headers.remove(name);
    for (let at = answer.findName(name); at >= 0; at = answer.findName(name, at + 1)) {
      request.headers.add(name, answer.valueAt(at));
    }
    return [name, before] as const;
  });
}

/** The name of the route that the redirect leads to; undefined without one. */
function nextRoute(stream: HttpStream, target: RedirectTarget): string | undefined {
  const { request, services, random } = stream;
  const { path, authority, scheme } = request;
  request.path = target.path;
  request.authority = target.authority;
  request.scheme = target.scheme;
  const outcome = services.routes()?.resolve(request, random);
  request.path = path;
  request.authority = authority;
  request.scheme = scheme;
  return outcome === undefined || outcome.kind === "no-route" ? undefined : outcome.route.name;
}

interface Question {
  readonly plan: RedirectPlan;
  readonly journey: Journey;
  readonly target: RedirectTarget;
  readonly stream: HttpStream;
}

function isAccepted({ plan, journey, target, stream }: Question, name: string): boolean {
  const from = stream.route?.name ?? "";
  return plan.predicates.every((predicate) => {
    switch (predicate.kind) {
      case "allowed":
        return predicate.names.has(name);
      case "safe-scheme":
        return stream.request.scheme === "https" || target.scheme === "http";
      case "new": {
        const visited = journey.visited.get(from) ?? new Set();
        journey.visited.set(from, visited);
        if (visited.has(name)) return false;
        visited.add(name);
        return true;
      }
    }
  });
}

function begin(stream: HttpStream, redirection: Redirection, target: RedirectTarget): void {
  const { request, body } = stream;
  const { answer, asked, leave } = redirection;
  const { method } = request;
  const becomesGet = answer.status === 303 && method !== "GET" && method !== "HEAD";
  const head = headOf(stream, target, {
    method: becomesGet ? "GET" : method,
    original: `${request.scheme}://${asked.authority}${asked.path}`,
    hasBody: !becomesGet,
  });
  const pieces = becomesGet ? [] : [...body.pieces];
  const trailers = becomesGet ? undefined : body.trailers;
  const hasBody = head.bodyKind !== "none";
  stream.responseHeaders.reset(answer);
  stream.record.responseCode = answer.status;
  stream.endFor("internal_redirect", false);
  leave();
  const generation = stream.generation + 1;
  request.redirectsTo = target.scheme;
  stream.begin(head, undefined);
  if (!hasBody || !stream.isActive || stream.generation !== generation) return;
  for (const piece of pieces) stream.onBody(piece, 0, piece.length);
  stream.onBodyEnd(trailers);
  stream.flushRequest();
}

interface NewHead {
  readonly method: string;
  /** Where the request led before. */
  readonly original: string;
  readonly hasBody: boolean;
}

/** What a writer of heads writes; it leaves out everything else. */
const fieldValue = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;

const framing: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);

function headOf(
  { request }: HttpStream,
  { path, authority }: RedirectTarget,
  { method, original, hasBody }: NewHead,
): Http1Head {
  const before = request.headers.head;
  const lines = [
    `${method} ${path} HTTP/1.${before?.minorVersion ?? 1}`,
    `host: ${authority}`,
    `x-envoy-original-url: ${original}`,
  ];
  request.headers.forEach((name, value) => {
    // A value of ours (a format's) may hold a line end: it is left out as every writer leaves it out, or it
    // would be read as further fields.
    const isLeftOut = name === "host" || name === "x-envoy-original-url" || !fieldValue.test(value);
    if (!isLeftOut && (hasBody || !framing.has(name))) lines.push(`${name}: ${value}`);
  });
  const head = new Http1Head();
  head.reset("request");
  const bytes = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  feedHead(head, bytes, 0, { headBytesMax, fieldsMax });
  if (before === undefined) return head;
  head.isHttp2 = before.isHttp2;
  head.isKeepAlive = before.isKeepAlive;
  head.bodyKind = hasBody ? before.bodyKind : "none";
  head.bodyLength = hasBody ? before.bodyLength : 0;
  return head;
}
