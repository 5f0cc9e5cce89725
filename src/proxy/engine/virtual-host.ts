/**
 * One virtual host, kept as it came: encoded. It is compiled when its first request comes, its
 * routes' actions when each is first chosen; until then a route costs its bytes and an offset.
 */
import {
  Route,
  VirtualHost,
  VirtualHost_TlsRequirementType as TlsRequirement,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { splitMessage, splittingMessage } from "../../wire/protobuf-split.ts";
import { compileFirstMatch, type FirstMatch } from "./condition-code.ts";
import { allOf, type Condition } from "./condition.ts";
import { compileFilterOverrides, type FilterOverrideCompilers } from "./filter-overrides.ts";
import { compileHeaderLevel } from "./header-operations.ts";
import { compileMirrors } from "./mirrors.ts";
import { PathIndex } from "./path-index.ts";
import { compileRateLimits } from "./rate-limits.ts";
import { refuse, type RefusalList } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { compileRetryPolicy } from "./retry-policy.ts";
import { compileOutcome, type Level, type Outcome, type RouteContext } from "./route-entry.ts";
import { planRouteMatch } from "./route-match.ts";
import { plainRoute } from "./route-plain.ts";
import type { RouteOutcome } from "./route-table.ts";

/** What a virtual host takes from the table it stands in. */
export interface TableSettings {
  /** Names the table among all that the proxy has. */
  readonly owner: string;
  readonly level: Level;
  readonly overrides: FilterOverrideCompilers;
  readonly directResponseBytesMax: number;
  readonly isReversed: boolean;
  readonly generatesCode: boolean;
  /** Around what is compiled because a request needs it: measures it. */
  readonly measured: (work: () => void) => void;
}

/** Called with what is decoded to be checked; throws a refusal. */
export interface HostChecks {
  host(host: VirtualHost, path: string): void;
  route(route: Route, path: string): void;
}

export const notFound: RouteOutcome = { kind: "no-route" };

/** Above it, paths are looked up instead of tested one after another. */
export const indexedAbove = 64;
/** Above it, a request would wait for more than a millisecond: it is compiled when it arrives. */
export const compiledAtOnceAbove = 32;

const routesField = 3;

export class CompiledVirtualHost {
  readonly name: string;
  readonly domains: readonly string[];
  /** Of `bytes`. */
  readonly hash: number;
  readonly #settings: TableSettings;
  readonly #tls: "none" | "external" | "all";
  readonly #offsets: Uint32Array;
  #bytes: Uint8Array;
  #context: RouteContext | undefined;
  #firstMatch: FirstMatch | undefined;
  readonly #outcomes: (Outcome | undefined)[] = [];

  /**
   * Says what cannot be honoured before it comes into force. Gives way after each route. Without
   * `checks` it was checked already, by another thread of the same version.
   */
  static *make(
    input: { readonly bytes: Uint8Array; readonly hash: number; readonly path: string },
    settings: TableSettings,
    checking: { readonly checks: HostChecks | undefined; readonly refusals: RefusalList },
  ): Generator<void, CompiledVirtualHost> {
    const { checks, refusals } = checking;
    const { parts, rest } = yield* splittingMessage(input.bytes, routesField);
    const shell = VirtualHost.decode(rest);
    const host = new CompiledVirtualHost(input, { shell, offsets: parts, settings });
    if (shell.domains.length === 0) {
      refusals.add(`${input.path}.domains`, "at least one is required");
    }
    const index = host.routeCount > indexedAbove ? new PathIndex() : undefined;
    const isLong = host.routeCount > compiledAtOnceAbove;
    if (checks === undefined && !isLong) return host;
    const conditions: Condition[] = [];
    refusals.attempt(() => checks?.host(shell, input.path));
    const context = refusals.attempt(() => host.#contextOf(shell, input.path));
    for (let i = 0; i < host.routeCount; i++) {
      yield;
      const route = host.#route(i);
      const path = `${input.path}.routes[${i}]`;
      refusals.attempt(() => checks?.route(route, path));
      refusals.attempt(() => {
        const match = planRouteMatch(matchOf(route, path), `${path}.match`);
        if (index !== undefined) index.add(match);
        else if (isLong) conditions.push(allOf([match.path, match.rest]));
        if (context !== undefined && checks !== undefined) {
          compileOutcome(route, match, context, path);
        }
      });
      if (refusals.isFull) refusals.throwIfAny();
    }
    yield;
    if (index !== undefined) host.#firstMatch = index.firstMatch;
    else if (isLong) host.#firstMatch = compileFirstMatch(conditions, settings);
    // Made for the check alone: a request brings it back.
    host.#context = undefined;
    return host;
  }

  private constructor(
    input: { readonly bytes: Uint8Array; readonly hash: number },
    parts: {
      readonly shell: VirtualHost;
      readonly offsets: Uint32Array;
      readonly settings: TableSettings;
    },
  ) {
    this.#bytes = input.bytes;
    this.hash = input.hash;
    this.#offsets = parts.offsets;
    this.#settings = parts.settings;
    this.name = parts.shell.name;
    this.domains = parts.shell.domains;
    this.#tls = tlsOf(parts.shell.requireTls);
  }

  get routeCount(): number {
    return this.#offsets.length / 2;
  }

  /** Whether it was made of these bytes; it keeps the new copy, so that the old one can go. */
  takeOver(bytes: Uint8Array): boolean {
    if (!isEqual(this.#bytes, bytes)) return false;
    this.#bytes = bytes;
    return true;
  }

  resolve(request: RequestView, path: string, random: () => number): RouteOutcome {
    if (this.#tls !== "none" && this.#mustUseTls(request)) return this.#redirectToTls();
    const firstMatch = this.#firstMatch ?? this.#compile();
    const index = firstMatch(request, path, random);
    if (index < 0) return notFound;
    const outcome = this.#outcomes[index] ?? this.#compileOutcome(index);
    return outcome(request, random);
  }

  #compile(): FirstMatch {
    let made: FirstMatch = () => -1;
    this.#settings.measured(() => {
      const conditions = Array.from({ length: this.routeCount }, (_, i) => {
        const { path, rest } = planRouteMatch(matchOf(this.#route(i), "route"), "match");
        return allOf([path, rest]);
      });
      made = compileFirstMatch(conditions, this.#settings);
    });
    this.#firstMatch = made;
    return made;
  }

  #compileOutcome(index: number): Outcome {
    let made: Outcome = () => notFound;
    this.#settings.measured(() => {
      this.#context ??= this.#contextOf(
        VirtualHost.decode(splitMessage(this.#bytes, routesField).rest),
        "",
      );
      const route = this.#route(index);
      const match = planRouteMatch(matchOf(route, "route"), "match");
      made = compileOutcome(route, match, this.#context, `routes[${index}]`);
    });
    this.#outcomes[index] = made;
    return made;
  }

  #route(index: number): Route {
    const start = this.#offsets[index * 2] ?? 0;
    const end = this.#offsets[index * 2 + 1] ?? 0;
    return Route.decode(this.#bytes.subarray(start, end));
  }

  #contextOf(host: VirtualHost, path: string): RouteContext {
    if (this.#context !== undefined) return this.#context;
    const { level, overrides, directResponseBytesMax, isReversed } = this.#settings;
    const owner = `${this.#settings.owner}/${host.name}`;
    const own: Level = {
      headers: compileHeaderLevel(host, `${path}.`),
      filters: compileFilterOverrides(host.typedPerFilterConfig, overrides, `${path}.`, owner),
      mirrors: compileMirrors(host.requestMirrorPolicies, `${path}.request_mirror_policies`),
    };
    compileRateLimits(host.rateLimits, `${path}.rate_limits`);
    this.#context = {
      virtualHost: host,
      levels: [own, level],
      overrides,
      owner,
      retry:
        host.retryPolicy === undefined
          ? undefined
          : compileRetryPolicy(host.retryPolicy, `${path}.retry_policy`),
      directResponseBytesMax,
      isReversed,
    };
    return this.#context;
  }

  #mustUseTls(request: RequestView): boolean {
    if (request.scheme === "https") return false;
    return this.#tls === "all" || request.header("x-envoy-internal") !== "true";
  }

  #redirectToTls(): RouteOutcome {
    const location = ({ authority, path }: RequestView): string | undefined =>
      path === "" ? undefined : `https://${authority}${path}`;
    return { kind: "redirect", status: 301, location, route: plainRoute("", this.name) };
  }
}

function matchOf(route: Route, path: string): NonNullable<Route["match"]> {
  return route.match ?? refuse(`${path}.match`, "is required");
}

function tlsOf(requirement: TlsRequirement): "none" | "external" | "all" {
  if (requirement === TlsRequirement.ALL) return "all";
  return requirement === TlsRequirement.EXTERNAL_ONLY ? "external" : "none";
}

/** By words: a virtual host can be a megabyte long. */
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  const [left, right] = [viewOf(a), viewOf(b)];
  let at = 0;
  for (; at + 4 <= a.length; at += 4) {
    if (left.getUint32(at) !== right.getUint32(at)) return false;
  }
  for (; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

const hashedMax = 512;

/**
 * FNV-1a of the length, the beginning (where name and domains stand) and the end: finds candidates;
 * equality is decided by the bytes.
 */
export function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 ^ bytes.length;
  const mix = (from: number, until: number): void => {
    for (let i = from; i < until; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  };
  mix(0, Math.min(bytes.length, hashedMax));
  mix(Math.max(hashedMax, bytes.length - hashedMax), bytes.length);
  return hash >>> 0;
}
