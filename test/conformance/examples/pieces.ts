/** Pieces of Envoy bootstraps as text, so that each example shows only what is its own. */

export interface ExamplePorts {
  readonly listener: number;
  readonly second: number;
  readonly app: number;
  readonly other: number;
  readonly admin: number;
}

const extensions = "type.googleapis.com/envoy.extensions.";

/** `"@type"` of an extension. */
export function type(name: string): string {
  return `"@type": ${extensions}${name}`;
}

export function indent(text: string, by: number): string {
  return text.trim().replaceAll(/^(?=.)/gm, " ".repeat(by));
}

export const router: string = `- {name: envoy.filters.http.router, typed_config: {${type("filters.http.router.v3.Router")}}}`;

export interface HttpExample {
  /** Filters before the router. */
  readonly filters?: string;
  readonly routes?: string;
  /** Of the virtual host. */
  readonly host?: string;
  /** More of the connection manager. */
  readonly manager?: string;
  /** More of the filter chain. */
  readonly chain?: string;
  /** More of the listener. */
  readonly listener?: string;
  /** More of the cluster `app`. */
  readonly cluster?: string;
  readonly clusters?: string;
  /** More of the bootstrap. */
  readonly top?: string;
}

const everything = `- {match: {prefix: "/"}, route: {cluster: app}}`;

export function cluster(name: string, port: number, more = ""): string {
  return [
    `- name: ${name}`,
    `  load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}`,
    indent(more, 2),
  ]
    .filter((line) => line !== "")
    .join("\n");
}

export function httpManager(example: HttpExample): string {
  return `- name: http
  typed_config:
    ${type("filters.network.http_connection_manager.v3.HttpConnectionManager")}
    stat_prefix: ingress
${indent(example.manager ?? "generate_request_id: true", 4)}
    route_config:
      virtual_hosts:
      - name: all
        domains: ["*"]
${indent(example.host ?? "include_request_attempt_count: false", 8)}
        routes:
${indent(example.routes ?? everything, 8)}
    http_filters:
${indent(`${example.filters ?? ""}\n${router}`, 4)}`;
}

export function listenerAt(port: number, filters: string, more: HttpExample = {}): string {
  return `- name: main
  address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
${indent(more.listener ?? "stat_prefix: main", 2)}
  filter_chains:
  - filters:
${indent(filters, 4)}
${indent(more.chain ?? "name: only", 4)}`;
}

export function bootstrap(listeners: string, clusters: string, top = ""): string {
  return `${top}
static_resources:
  listeners:
${indent(listeners, 2)}
  clusters:
${indent(clusters, 2)}
`;
}

/** One HTTP listener before the application. */
export function http(ports: ExamplePorts, example: HttpExample): string {
  const clusters = `${cluster("app", ports.app, example.cluster)}\n${example.clusters ?? ""}`;
  const listener = listenerAt(ports.listener, httpManager(example), example);
  return bootstrap(listener, clusters, example.top);
}

/** One listener with network filters. */
export function network(ports: ExamplePorts, filters: string, more: HttpExample = {}): string {
  const clusters = `${cluster("app", ports.app, more.cluster)}\n${more.clusters ?? ""}`;
  return bootstrap(listenerAt(ports.listener, filters, more), clusters, more.top);
}

export const tcpProxy: string = `- {name: tcp, typed_config: {${type("filters.network.tcp_proxy.v3.TcpProxy")}, stat_prefix: tcp, cluster: app}}`;
