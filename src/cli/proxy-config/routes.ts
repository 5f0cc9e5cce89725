import type {
  Route,
  RouteAction,
  RouteMatch,
  VirtualHost,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import type { ProxyDump } from "./dump.ts";
import type { ViewFilter } from "./filter.ts";
import type { View } from "./view.ts";

const domainsShownMax = 3;

export function viewRoutes(dump: ProxyDump, filter: ViewFilter): View {
  const shown = dump.routes.filter(
    ({ message }) => filter.name === undefined || filter.name === message.name,
  );
  return {
    head: ["NAME", "VIRTUAL HOST", "DOMAINS", "MATCH", "DESTINATION", "TIMEOUT", "RETRIES"],
    rows: shown.flatMap(({ message }) =>
      message.virtualHosts.flatMap((host) =>
        host.routes.map((route) => [
          message.name === "" ? "-" : message.name,
          host.name,
          formatDomains(host),
          formatMatch(route.match),
          formatAction(route),
          formatTimeout(route),
          formatRetries(route),
        ]),
      ),
    ),
    json: shown.map(({ json }) => json),
  };
}

function formatDomains({ domains }: VirtualHost): string {
  const more = domains.length - domainsShownMax;
  const shown = domains.slice(0, domainsShownMax).join(", ");
  return more > 0 ? `${shown} + ${more} more` : shown;
}

function formatMatch(match: RouteMatch | undefined): string {
  if (match === undefined) return "-";
  const headers = match.headers.length === 0 ? "" : ` + ${match.headers.length} headers`;
  const queries =
    match.queryParameters.length === 0 ? "" : ` + ${match.queryParameters.length} parameters`;
  return `${formatPath(match)}${headers}${queries}`;
}

function formatPath({ pathSpecifier }: RouteMatch): string {
  switch (pathSpecifier.case) {
    case "prefix":
    case "pathSeparatedPrefix":
      return `${pathSpecifier.value}*`;
    case "path":
      return pathSpecifier.value;
    case "safeRegex":
      return `regex ${pathSpecifier.value.regex}`;
    case "connectMatcher":
      return "CONNECT";
    case "pathMatchPolicy":
      return pathSpecifier.value.name;
    case undefined:
      return "*";
  }
}

function formatAction({ action }: Route): string {
  switch (action.case) {
    case "route":
      return formatCluster(action.value);
    case "redirect":
      return "redirect";
    case "directResponse":
      return `answer ${action.value.status}`;
    case "filterAction":
    case "nonForwardingAction":
      return action.case;
    case undefined:
      return "-";
  }
}

function formatCluster({ clusterSpecifier }: RouteAction): string {
  switch (clusterSpecifier.case) {
    case "cluster":
    case "clusterHeader":
    case "clusterSpecifierPlugin":
      return clusterSpecifier.value;
    case "weightedClusters":
      return clusterSpecifier.value.clusters
        .map(({ name, weight }) => `${name} ${weight ?? 0}%`)
        .join(", ");
    case "inlineClusterSpecifierPlugin":
    case undefined:
      return "-";
  }
}

function formatTimeout({ action }: Route): string {
  if (action.case !== "route") return "-";
  const { timeout } = action.value;
  if (timeout === undefined) return "15s";
  const seconds = Number(timeout.seconds) + timeout.nanos / 1e9;
  return seconds === 0 ? "none" : `${seconds}s`;
}

function formatRetries({ action }: Route): string {
  if (action.case !== "route") return "-";
  return String(action.value.retryPolicy?.numRetries ?? 0);
}
