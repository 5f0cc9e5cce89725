/**
 * `heddle proxy` as a process of its own before one application, plain or as a pair of proxies with
 * mutual TLS between them: for tests of what a process does in its life and how much memory it takes.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openBundle } from "../../src/cli/bundle.ts";
import { freePort } from "./free-port.ts";
import { makeTestAuthority } from "./test-certificates.ts";

export interface ProxyProcessOptions {
  readonly io: "portable" | "epoll";
  /** On loopback. */
  readonly applicationPort: number;
  /** Two hops, mutual TLS between them. */
  readonly hasTls?: boolean;
  readonly bufferBytesMax?: number;
  /** More of the connection managers. */
  readonly manager?: Readonly<Record<string, unknown>>;
  /** More clusters, by name, with a port on loopback each. */
  readonly clusters?: Readonly<Record<string, number>>;
  /** The same, of endpoints that speak HTTP/2. */
  readonly http2Clusters?: Readonly<Record<string, number>>;
  /** More of the bootstrap. */
  readonly bootstrap?: Readonly<Record<string, unknown>>;
  /** Flags of Node. */
  readonly flags?: readonly string[];
  /** More of the environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Of the command. */
  readonly args?: readonly string[];
  /** Runs before the process becomes the proxy: `echo $$ > …/cgroup.procs`. */
  readonly before?: string;
}

export interface ProxyProcess {
  readonly pid: number;
  readonly port: number;
  readonly adminPort: number;
  /** What it has written to its log. */
  log(): string;
  /** Resident and anonymous memory now, in bytes. */
  memory(): { readonly resident: number; readonly anonymous: number };
  admin(path: string, method?: string): Promise<string>;
  /** Resolves with the exit code, or the signal, once it has ended. */
  readonly exited: Promise<number | string>;
  signal(signal: NodeJS.Signals): void;
  /** Ends it at once. */
  stop(): Promise<void>;
}

export async function startProxyProcess(options: ProxyProcessOptions): Promise<ProxyProcess> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-proxy-"));
  const { config: bootstrap, ports } = await proxyBootstrap(options);
  const { port, adminPort } = ports;
  const config = join(folder, "proxy.json");
  writeFileSync(config, JSON.stringify(bootstrap, undefined, 1));
  const { main } = await openBundle();
  const node = ["--disable-warning=ExperimentalWarning", ...(options.flags ?? []), main];
  const proxy = ["proxy", "-c", config, "--io", options.io, ...(options.args ?? [])];
  const command = [process.execPath, ...node, ...proxy];
  const script = `${options.before ?? ":"} && exec "$0" "$@"`;
  const child = spawn("sh", ["-c", script, ...command], {
    env: { ...process.env, ...options.environment },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("the proxy cannot be started");
  let log = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (text: string) => (log = (log + text).slice(-100_000)));
  const exited = once(child, "exit").then(([code, signal]: (number | string | null)[]) => {
    rmSync(folder, { recursive: true, force: true });
    return code ?? signal ?? "";
  });
  // The admin port opens after those of the configuration.
  for (const one of [port, adminPort]) {
    await untilListening(
      one,
      () => child.exitCode === null,
      () => log,
    );
  }
  return {
    pid,
    port,
    adminPort,
    log: () => log,
    memory: () => memoryOf(pid),
    async admin(path, method = "GET") {
      const answer = await fetch(`http://127.0.0.1:${adminPort}${path}`, { method });
      return await answer.text();
    },
    exited,
    signal: (signal) => void child.kill(signal),
    async stop() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** The file that it runs by, for other proxies that take it. */
export async function proxyBootstrap(
  options: Omit<ProxyProcessOptions, "io">,
): Promise<{ readonly config: object; readonly ports: Ports }> {
  const ports = {
    port: await freePort(),
    peerPort: await freePort(),
    adminPort: await freePort(),
  };
  return { config: await bootstrapOf(options, ports), ports };
}

/** Resident and anonymous memory of a process, in bytes. */
export function memoryOf(pid: number): { readonly resident: number; readonly anonymous: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024;
  return { resident: of("VmRSS"), anonymous: of("RssAnon") };
}

async function untilListening(
  port: number,
  isAlive: () => boolean,
  log: () => string,
): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (!isAlive()) throw new Error(`the proxy has ended: ${log()}`);
    const socket = connect(port, "127.0.0.1");
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the proxy does not listen: ${log()}`);
}

interface Ports {
  readonly port: number;
  readonly peerPort: number;
  readonly adminPort: number;
}

const extensions = "type.googleapis.com/envoy.extensions.";

async function bootstrapOf(
  options: Omit<ProxyProcessOptions, "io">,
  ports: Ports,
): Promise<object> {
  const { applicationPort, bufferBytesMax, hasTls = false } = options;
  const buffer =
    bufferBytesMax === undefined ? {} : { per_connection_buffer_limit_bytes: bufferBytesMax };
  const tls = hasTls ? await tlsContexts() : undefined;
  const listener = (name: string, at: number, [cluster, socket]: [string, object?]): object => ({
    name,
    address: address(at),
    ...buffer,
    filter_chains: [
      {
        ...(socket === undefined ? {} : { transport_socket: socket }),
        filters: [manager(name, cluster, options.manager)],
      },
    ],
  });
  const cluster = (name: string, to: number, socket?: object): object => ({
    name,
    type: "STATIC",
    connect_timeout: "5s",
    ...buffer,
    ...(socket === undefined ? {} : { transport_socket: socket }),
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(to) } }] }],
    },
  });
  const first = listener("first", ports.port, [tls === undefined ? "app" : "peer"]);
  return {
    admin: { address: address(ports.adminPort) },
    static_resources: {
      listeners:
        tls === undefined
          ? [first]
          : [first, listener("peer", ports.peerPort, ["app", tls.server])],
      clusters: [
        cluster("app", applicationPort),
        ...(tls === undefined ? [] : [cluster("peer", ports.peerPort, tls.client)]),
        ...Object.entries(options.clusters ?? {}).map(([name, to]) => cluster(name, to)),
        ...Object.entries(options.http2Clusters ?? {}).map(([name, to]) => ({
          ...cluster(name, to),
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": `${extensions}upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        })),
      ],
    },
    ...options.bootstrap,
  };
}

function address(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function manager(name: string, cluster: string, more: object = {}): object {
  return {
    name: "http",
    typed_config: {
      "@type": `${extensions}filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: name,
      route_config: {
        name,
        virtual_hosts: [
          {
            name,
            domains: ["*"],
            routes: [{ match: { prefix: "/" }, route: { cluster, timeout: "0s" } }],
          },
        ],
      },
      http_filters: [
        {
          name: "router",
          typed_config: { "@type": `${extensions}filters.http.router.v3.Router` },
        },
      ],
      ...more,
    },
  };
}

async function tlsContexts(): Promise<{ readonly server: object; readonly client: object }> {
  const authority = await makeTestAuthority();
  const { chainPem, privateKeyPem } = await authority.issue({
    uris: ["spiffe://cluster.local/ns/default/sa/test"],
  });
  const common = {
    alpn_protocols: ["http/1.1"],
    tls_certificates: [
      {
        certificate_chain: { inline_string: chainPem },
        private_key: { inline_string: privateKeyPem },
      },
    ],
    validation_context: { trusted_ca: { inline_string: authority.rootPem } },
  };
  const socket = (kind: string, more: object): object => ({
    name: "tls",
    typed_config: {
      "@type": `${extensions}transport_sockets.tls.v3.${kind}`,
      common_tls_context: common,
      ...more,
    },
  });
  return {
    server: socket("DownstreamTlsContext", { require_client_certificate: true }),
    client: socket("UpstreamTlsContext", {}),
  };
}
