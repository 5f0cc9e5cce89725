/** Parts that bootstraps of Envoy's API have in common, as YAML text: tests run one on both data planes. */

export const extensions = "type.googleapis.com/envoy.extensions";

/** One server of 127.0.0.1, or several, as a flow mapping; `more`: further fields of the cluster. */
export function clusterText(name: string, ports: number | readonly number[], more = ""): string {
  const endpoints = [ports]
    .flat()
    .map(
      (port) =>
        `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`,
    );
  const assignment = `load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoints.join(", ")}]}]}`;
  const fields = [`name: ${name}`, "connect_timeout: 1s", "type: STATIC", assignment];
  return `{${[...fields, ...(more === "" ? [] : [more])].join(", ")}}`;
}

/**
 * What a listener of HTTP says. Texts of several lines begin with a line's end and are indented as what stands
 * around them: fields of the connection manager by ten blanks, filters and virtual hosts by ten and twelve.
 */
export interface HttpText {
  /** Of the connection manager. */
  readonly settings?: string;
  /** Before the router. */
  readonly filters?: string;
  /** Further fields of the router. */
  readonly router?: string;
  readonly virtualHosts: string;
  readonly log?: { readonly file: string; readonly format: string };
}

/** An item of `listeners`, but for its dash. */
export function httpListenerText(
  name: string,
  port: number,
  { settings = "", filters = "", router = "", virtualHosts, log }: HttpText,
): string {
  return `name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ${name}${settings}${log === undefined ? "" : logText(log)}
          http_filters:${filters}
          - name: envoy.filters.http.router
            typed_config: {"@type": ${extensions}.filters.http.router.v3.Router${router}}
          route_config:
            name: ${name}
            validate_clusters: false
            virtual_hosts:${virtualHosts}`;
}

/** The virtual hosts where there is one for all. */
export function oneHostText(routes: readonly string[]): string {
  return `
            - {name: all, domains: ["*"], routes: [${routes.join(", ")}]}`;
}

function logText({ file, format }: NonNullable<HttpText["log"]>): string {
  return `
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${file}
              log_format: {text_format_source: {inline_string: "${format}\\n"}}`;
}
