/** VirtualService: how requests to a host are matched, changed and sent on. */
import { headersOperations, httpRedirect, httpRetry } from "./http-action.ts";
import type { HeadersOperations, HttpRedirect, HttpRetry } from "./http-action.ts";
import { corsPolicy, faultInjection } from "./http-policy.ts";
import type { CorsPolicy, FaultInjection } from "./http-policy.ts";
import type { LabelSelector, PresenceMatch, StringMatch } from "./matching.ts";
import { labels, percentage, presenceMatch, stringMatch } from "./matching.ts";
import {
  duration,
  flag,
  hostname,
  integer,
  nonEmptyText,
  portNumber,
  regex,
  text,
} from "./scalar-types.ts";
import type { Place, Type, Unhonoured } from "./schema.ts";
import { list, object, record, refine } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";
import { yamlField } from "./yaml.ts";

export interface VirtualServiceSpec {
  readonly hosts: readonly string[];
  /** `mesh` and `<namespace>/<name>`; empty means `mesh`. */
  readonly gateways?: readonly string[];
  readonly http?: readonly HttpRoute[];
  readonly tcp?: readonly TcpRoute[];
  readonly exportTo?: readonly string[];
}

export interface HttpRoute {
  readonly name?: string;
  /** Any of them; none means every request. */
  readonly match?: readonly HttpMatch[];
  readonly route?: readonly RouteDestination[];
  readonly redirect?: HttpRedirect;
  readonly directResponse?: DirectResponse;
  readonly rewrite?: HttpRewrite;
  /** Milliseconds; 0 is none. */
  readonly timeout?: number;
  readonly retries?: HttpRetry;
  readonly fault?: FaultInjection;
  readonly mirror?: Destination;
  readonly mirrors?: readonly MirrorPolicy[];
  readonly mirrorPercentage?: number;
  readonly corsPolicy?: CorsPolicy;
  readonly headers?: HeadersOperations;
}

export interface HttpMatch {
  readonly name?: string;
  readonly uri?: StringMatch;
  readonly scheme?: StringMatch;
  readonly method?: StringMatch;
  readonly authority?: StringMatch;
  readonly headers?: Readonly<Record<string, PresenceMatch>>;
  readonly port?: number;
  readonly sourceLabels?: LabelSelector;
  readonly gateways?: readonly string[];
  readonly queryParams?: Readonly<Record<string, PresenceMatch>>;
  readonly ignoreUriCase?: boolean;
  readonly withoutHeaders?: Readonly<Record<string, PresenceMatch>>;
  readonly sourceNamespace?: string;
}

export interface Destination {
  readonly host: string;
  readonly subset?: string;
  readonly port?: { readonly number?: number };
}

export interface RouteDestination {
  readonly destination: Destination;
  readonly weight?: number;
  readonly headers?: HeadersOperations;
}

export interface DirectResponse {
  readonly status: number;
  readonly body?: { readonly string?: string; readonly bytes?: string };
}

export interface HttpRewrite {
  readonly uri?: string;
  readonly authority?: string;
  readonly uriRegexRewrite?: { readonly match: string; readonly rewrite: string };
}

export interface MirrorPolicy {
  readonly destination: Destination;
  /** Of requests, 0 to 100. */
  readonly percentage?: number;
}

export interface TcpRoute {
  readonly match?: readonly TcpMatch[];
  readonly route: readonly RouteDestination[];
}

export interface TcpMatch {
  readonly port?: number;
  readonly sourceLabels?: LabelSelector;
  readonly gateways?: readonly string[];
  readonly sourceNamespace?: string;
}

export const destination: Type<Destination> = object<Destination>(
  {
    host: hostname({ allowsWildcard: false }),
    subset: text,
    port: object<{ readonly number?: number }>({ number: portNumber }),
  },
  { required: ["host"] },
);

const routeDestination: Type<RouteDestination> = object<RouteDestination>(
  { destination, weight: integer({ min: 0 }), headers: headersOperations },
  { required: ["destination"] },
);

const bySourceOnly: Unhonoured = { effect: "matches a part of the traffic", rest: "stops" };

const httpMatch: Type<HttpMatch> = object<HttpMatch>(
  {
    name: text,
    uri: stringMatch,
    scheme: stringMatch,
    method: stringMatch,
    authority: stringMatch,
    headers: requestHeaders(),
    port: portNumber,
    sourceLabels: labels,
    gateways: list(nonEmptyText),
    queryParams: record(presenceMatch),
    ignoreUriCase: flag,
    withoutHeaders: requestHeaders(),
    sourceNamespace: text,
  },
  {
    unhonoured: { statPrefix: { effect: "names statistics of a route", rest: "acts" } },
    check: checkMatch,
  },
);

function requestHeaders(): Type<Readonly<Record<string, PresenceMatch>>> {
  return refine(record(presenceMatch), (value, node, place) => {
    for (const name of Object.keys(value)) {
      if (name.startsWith("@request.auth")) {
        place.complain(node.position, {
          code: "config.not-honoured",
          message: `${name} is not honoured yet (routes by claims of a JWT)`,
        });
      } else if (!/^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) {
        const message = `${JSON.stringify(name)} is not a header name`;
        place.complain(node.position, { code: "config.bad-header-name", message });
      }
    }
    return value;
  });
}

function checkMatch(match: Partial<HttpMatch>, node: YamlNode, place: Place): void {
  const isPathMatch = match.uri?.kind === "prefix" || match.uri?.kind === "exact";
  if (match.uri !== undefined && match.uri.value === "") {
    const message = "an empty uri matches nothing";
    place.complain(node.position, { code: "config.empty", message });
  }
  if (isPathMatch && match.uri.value !== "" && !/^[/*]/.test(match.uri.value)) {
    place.complain(node.position, {
      code: "virtualservice.uri-without-slash",
      severity: "warning",
      message: `${match.uri.value} does not begin with /, so no path matches`,
      hint: `write /${match.uri.value}`,
    });
  }
}

const mirrorPolicy: Type<MirrorPolicy> = object<MirrorPolicy>(
  { destination, percentage },
  { required: ["destination"] },
);

const httpRoute: Type<HttpRoute> = object<HttpRoute>(
  {
    name: text,
    match: list(httpMatch),
    route: list(routeDestination),
    redirect: httpRedirect,
    directResponse: object<DirectResponse>(
      {
        status: integer({ min: 100, max: 599 }),
        body: object<{ readonly string?: string; readonly bytes?: string }>(
          { string: text, bytes: text },
          { oneOf: [["string", "bytes"]] },
        ),
      },
      { required: ["status"] },
    ),
    rewrite: object<HttpRewrite>(
      {
        uri: text,
        authority: text,
        uriRegexRewrite: object<{ readonly match: string; readonly rewrite: string }>(
          { match: regex, rewrite: text },
          { required: ["match", "rewrite"] },
        ),
      },
      { oneOf: [["uri", "uriRegexRewrite"]] },
    ),
    timeout: duration(),
    retries: httpRetry,
    fault: faultInjection,
    mirror: destination,
    mirrors: list(mirrorPolicy),
    mirrorPercentage: percentage,
    corsPolicy,
    headers: headersOperations,
  },
  {
    unhonoured: {
      delegate: {
        effect: "takes routes from another VirtualService",
        rest: "stops",
        replaces: ["route"],
      },
    },
    deprecated: {
      mirrorPercent: "mirrorPercentage: {value: …}",
      mirror_percent: "mirrorPercentage",
    },
    exactlyOneOf: [["route", "redirect", "directResponse"]],
    oneOf: [["mirror", "mirrors"]],
    check: checkRoute,
  },
);

function checkRoute(route: Partial<HttpRoute>, node: YamlNode, place: Place): void {
  if (route.route === undefined) return;
  checkWeights(route.route, node, place);
  const { rewrite } = route;
  const says = Object.values(rewrite ?? {}).some((part) => part !== "");
  if (rewrite !== undefined && !says) {
    const message = "rewrite needs uri, uriRegexRewrite or authority";
    place.field("rewrite").complain(node.position, { code: "config.missing", message });
  }
}

/** Weights are shares: Istio asks for no particular total, but all zero sends nothing anywhere. */
function checkWeights(
  destinations: readonly RouteDestination[],
  node: YamlNode,
  place: Place,
): void {
  const at = place.field("route");
  const written = yamlField(node, "route");
  const items = written?.kind === "sequence" ? written.items : [];
  const weights = items.filter((item) => yamlField(item, "weight") !== undefined);
  // What was refused one by one has no total.
  if (weights.length > destinations.filter(({ weight }) => weight !== undefined).length) return;
  if (destinations.length === 0) {
    if (items.length > 0) return;
    at.complain(node.position, { code: "config.too-few", message: "a destination is needed" });
    return;
  }
  if (destinations.length === 1) return;
  const total = destinations.reduce((sum, { weight }) => sum + (weight ?? 0), 0);
  const position = place.findings.positions.get(at.path) ?? node.position;
  if (total === 0) {
    const message = "weights add up to 0, so no destination gets a request";
    at.complain(position, { code: "virtualservice.weights", message });
  } else if (total !== 100) {
    at.complain(position, {
      code: "virtualservice.weights",
      severity: "warning",
      message: `weights add up to ${total}, not 100; they are taken as shares of ${total}`,
      hint: "let the weights of a route add up to 100",
    });
  }
}

const tcpMatch: Type<TcpMatch> = object<TcpMatch>(
  { port: portNumber, sourceLabels: labels, gateways: list(nonEmptyText), sourceNamespace: text },
  { unhonoured: { destinationSubnets: bySourceOnly, sourceSubnet: bySourceOnly } },
);

const tcpRoute: Type<TcpRoute> = object<TcpRoute>(
  { match: list(tcpMatch), route: list(routeDestination) },
  {
    required: ["route"],
    check(route, node, place) {
      if (route.route !== undefined) checkWeights(route.route, node, place);
    },
  },
);

export const virtualServiceSpec: Type<VirtualServiceSpec> = object<VirtualServiceSpec>(
  {
    hosts: list(hostname({ allowsAddress: true }), { min: 1 }),
    gateways: list(nonEmptyText),
    http: list(httpRoute),
    tcp: list(tcpRoute),
    exportTo: list(nonEmptyText),
  },
  {
    required: ["hosts"],
    unhonoured: { tls: { effect: "routes TLS connections by SNI", rest: "stops" } },
    check(spec, node, place) {
      if (["http", "tcp", "tls"].every((name) => yamlField(node, name) === undefined)) {
        const message = "has neither http nor tcp routes, so it does nothing";
        place.complain(node.position, { code: "config.missing", message });
      }
      if (spec.exportTo?.some((name) => name === "~") === true) {
        const message = "exportTo ~ shows it to nobody";
        place.complain(node.position, { code: "config.no-effect", severity: "warning", message });
      }
    },
  },
);
