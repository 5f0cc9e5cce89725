/** VirtualService: how requests to a host are matched, changed and sent on. */
import type { TcpRoute, TlsRoute } from "./connection-routes.ts";
import { checkServerNames, tcpRoute, tlsRoute } from "./connection-routes.ts";
import { headersOperations, httpRedirect, httpRetry } from "./http-action.ts";
import type { HeadersOperations, HttpRedirect, HttpRetry } from "./http-action.ts";
import { corsPolicy, faultInjection } from "./http-policy.ts";
import type { CorsPolicy, FaultInjection } from "./http-policy.ts";
import type { LabelSelector, PresenceMatch, StringMatch } from "./matching.ts";
import { labels, percentage, presenceMatch, stringMatch } from "./matching.ts";
import type { Destination, WeightedDestination } from "./route-destination.ts";
import { checkWeights, destination, weight } from "./route-destination.ts";
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
import type { Place, RenamedField, Type } from "./schema.ts";
import { list, object, record, refine } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";
import { yamlField } from "./yaml.ts";

export interface VirtualServiceSpec {
  readonly hosts: readonly string[];
  /** `mesh` and `<namespace>/<name>`; empty means `mesh`. */
  readonly gateways?: readonly string[];
  readonly http?: readonly HttpRoute[];
  /** Of connections of TLS that pass as they are, by the name that the client asks for. */
  readonly tls?: readonly TlsRoute[];
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

export interface RouteDestination extends WeightedDestination {
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

const routeDestination: Type<RouteDestination> = object<RouteDestination>(
  { destination, weight, headers: headersOperations },
  { required: ["destination"] },
);

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

const mirrorPercent: RenamedField<HttpRoute> = {
  successor: "mirrorPercentage",
  type: integer({ min: 0, max: 100 }),
  instead: "mirrorPercentage: {value: …}",
};

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
    renamed: { mirrorPercent, mirror_percent: mirrorPercent },
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

export const virtualServiceSpec: Type<VirtualServiceSpec> = object<VirtualServiceSpec>(
  {
    hosts: list(hostname({ allowsAddress: true }), { min: 1 }),
    gateways: list(nonEmptyText),
    http: list(httpRoute),
    tls: list(tlsRoute),
    tcp: list(tcpRoute),
    exportTo: list(nonEmptyText),
  },
  {
    required: ["hosts"],
    check(spec, node, place) {
      checkServerNames(spec, node, place);
      const kinds = ["http", "tls", "tcp"].map((name) => yamlField(node, name));
      if (kinds.every((routes) => routes?.kind !== "sequence" || routes.items.length === 0)) {
        const message = "has no http, tls or tcp routes, so it does nothing";
        place.complain(node.position, { code: "config.missing", message });
      }
      if (spec.exportTo?.some((name) => name === "~") === true) {
        const message = "exportTo ~ shows it to nobody";
        place.complain(node.position, { code: "config.no-effect", severity: "warning", message });
      }
    },
  },
);
