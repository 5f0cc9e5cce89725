/** One bootstrap with HTTP/2 endpoints, under Heddle on either backend and under Envoy. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { load } from "js-yaml";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { untilOpen } from "./planes.ts";
import type { Endpoints } from "./upstream-endpoints.ts";

export interface UpstreamPlane {
  readonly name: string;
  readonly port: number;
  readonly readLog: () => readonly string[];
  readonly close: () => Promise<void>;
}

const extensions = "type.googleapis.com/envoy.extensions";
const format =
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% %UPSTREAM_PROTOCOL% in=%BYTES_RECEIVED% out=%BYTES_SENT% %REQ(:METHOD)% %REQ(:PATH)% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% grpc=%GRPC_STATUS_NUMBER%\\n";

function cluster(name: string, port: number, options: string): string {
  const address = `{socket_address: {address: 127.0.0.1, port_value: ${port}}}`;
  return `
  - name: ${name}
    connect_timeout: 10s
    type: STATIC
    load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: ${address}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": ${extensions}.upstreams.http.v3.HttpProtocolOptions
        ${options}`;
}

function bootstrap(port: number, logFile: string, endpoints: Endpoints): string {
  const retry =
    'retry_policy: {retry_on: "refused-stream", num_retries: 2, retry_back_off: {base_interval: 0.001s}}';
  return `static_resources:
  clusters:${cluster("app", endpoints.port, "explicit_http_config: {http2_protocol_options: {}}")}${cluster("raw", endpoints.rawPort, "explicit_http_config: {http2_protocol_options: {override_stream_error_on_invalid_http_message: true}}")}${cluster("either", endpoints.eitherPort, "use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}")}
  - name: gone
    connect_timeout: 10s
    type: STATIC
    load_assignment: {cluster_name: gone, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": ${extensions}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
  listeners:
  - name: door
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: door
          http_protocol_options: {enable_trailers: true}
          access_log:
          - name: file
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${logFile}
              log_format: {text_format_source: {inline_string: "${format}"}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}
          route_config:
            name: door
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {path: /refused-retry}, route: {cluster: app, ${retry}}}
              - {match: {path: /raw-retry}, route: {cluster: raw, ${retry}}}
              - {match: {prefix: /raw}, route: {cluster: raw}}
              - {match: {prefix: /gone}, route: {cluster: gone}}
              - {match: {prefix: /either}, route: {cluster: either}}
              - {match: {prefix: /slow}, route: {cluster: raw, timeout: 0.3s}}
              - {match: {prefix: /}, route: {cluster: app}}
`;
}

export async function runUpstreamPlanes(endpoints: Endpoints): Promise<readonly UpstreamPlane[]> {
  const planes: UpstreamPlane[] = [];
  for (const io of ["portable", "epoll"] as const) {
    const port = await freePort();
    const lines: string[] = [];
    const config = load(bootstrap(port, "access.log", endpoints));
    const { close } = await startProxyInProcess(config, io, (text) => void lines.push(text));
    const readLog = (): readonly string[] =>
      lines.flatMap((line) => line.split("\n")).filter((line) => line !== "");
    planes.push({ name: io, port, readLog, close });
  }
  planes.push(await runEnvoy(endpoints));
  return planes;
}

async function runEnvoy(endpoints: Endpoints): Promise<UpstreamPlane> {
  const binary = findEnvoy();
  if (binary === undefined) throw new Error("no Envoy at hand: npm test installs one");
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "heddle-upstream-"));
  const logFile = join(folder, "access.log");
  const config = load(bootstrap(port, logFile, endpoints));
  const envoy = startEnvoy(binary, config, ["--file-flush-interval-msec", "10"]);
  await untilOpen(port, envoy.log);
  const readLog = (): readonly string[] =>
    readFileSync(logFile, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  const close = async (): Promise<void> => {
    await envoy.stop();
    rmSync(folder, { recursive: true });
  };
  return { name: "envoy", port, readLog, close };
}
