/** TCP connections through another proxy (`tunneling_config`), beside Envoy. */
import { comparePlanes } from "./compared-planes.ts";
import type { Backends } from "./scenario-bootstrap.ts";
import type { Place } from "./scenario-proxies.ts";
import { get, type Scenario } from "./scenarios.ts";

const extensions = "type.googleapis.com/envoy.extensions";

function bootstrap({ application, closed }: Backends): (place: Place) => string {
  return ({ ports, logFile }) => {
    const cluster = (name: string, port: number): string =>
      `{name: ${name}, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
    const log = `access_log: [{name: file, typed_config: {"@type": ${extensions}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {text_format_source: {inline_string: "%RESPONSE_FLAGS% in=%BYTES_RECEIVED% out=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER%\\n"}}}}]`;
    const tunnel = (door: keyof typeof ports, target: string, config: string): string => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: ${door}, cluster: ${target}, tunneling_config: {${config}}, ${log}}`;
    return `
static_resources:
  clusters:
  - ${cluster("app", application)}
  - ${cluster("refused", closed)}
  listeners:
  - name: mesh
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports.mesh}}}
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: mesh, cluster: app}}]}]
${tunnel("edge", "app", `hostname: "tunnel.test:443", headers_to_add: [{header: {key: X-From, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}, {header: {key: x-two, value: two}}]`)}
${tunnel("behind", "app", 'hostname: "refuses"')}
${tunnel("client", "refused", 'hostname: "tunnel.test:443"')}
${tunnel("server", "app", 'hostname: "gone"')}
`;
  };
}

const scenarios: readonly Scenario[] = [
  { name: "opens a tunnel", door: "edge", text: get("/app/ok"), hangsUpAfterMs: 200, logs: "-" },
  {
    name: "carries an answer up to the close",
    door: "edge",
    text: get("/app/until"),
    hangsUpAfterMs: 200,
    logs: "-",
  },
  { name: "fails where no tunnel is opened", door: "behind", text: get("/app/ok"), logs: "UF,URX" },
  { name: "fails without a proxy on the way", door: "client", text: get("/app"), logs: "UF,URX" },
  { name: "fails where the proxy leaves", door: "server", text: get("/app/ok"), logs: "UF,URX" },
];

comparePlanes({ scenarios, bootstrap, accepted: {} });
