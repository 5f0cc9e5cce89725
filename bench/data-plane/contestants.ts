/** The proxies that are compared, and how each is started with its configuration file. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  composeGrpcPair,
  composeHttp2,
  composePair,
  fill,
  type Fillings,
} from "./configurations.ts";

export interface Contestant {
  readonly name: string;
  /** Configurations of one kind do the same work. */
  readonly kind: string;
  readonly does: string;
  /** Writes its configuration; returns the file. */
  readonly configure: (folder: string, values: Fillings) => string;
  readonly command: (file: string, folder: string) => readonly string[];
  /** No proxy, but a server: it answers where pairs have their inbound listener, and nowhere else. */
  readonly isServer?: boolean;
}

export interface Programs {
  /** Path of its binary; its rows are left out without one. */
  readonly envoy: string | undefined;
  /** Heddle's main file: the bundle, as sidecars run it. */
  readonly heddle: string;
  /** That a proxy has: Envoy has a worker for each. */
  readonly cores: 1 | 2;
}

const filters = "RBAC, CORS, fault, Istio's metrics, JSON access log, 10 % traced";

export function contestants(programs: Programs): readonly Contestant[] {
  const from =
    (template: string): Contestant["configure"] =>
    (folder, values) =>
      fill(template, folder, values);
  const pairFrom =
    (template: string): Contestant["configure"] =>
    (folder, values) =>
      composePair(template, folder, values);
  return [
    {
      name: "nginx",
      kind: "plain",
      does: "plain proxy",
      configure: from("nginx.conf"),
      command: (file, folder) => ["nginx", "-p", folder, "-c", file],
    },
    {
      name: "haproxy",
      kind: "plain",
      does: "plain proxy",
      configure: from("haproxy.cfg"),
      command: (file) => ["haproxy", "-f", file],
    },
    opensslServer,
    ...bothOf(programs, "plain", "routing only", from("plain.yaml")),
    ...bothOf(programs, "mesh", filters, from("mesh.yaml")),
    ...bothOf(programs, "mesh-h2", `${filters}; HTTP/2 to it`, composeHttp2("HTTP2"), oneThread),
    ...bothOf(programs, "mesh-grpc", `${filters}; gRPC`, composeHttp2("GRPC"), oneThread),
    ...bothOf(programs, "pair", "two hops, mutual TLS, HTTP/1.1 between", from("pair.yaml")),
    ...bothOf(
      programs,
      "pair-h2",
      "two hops, mutual TLS, HTTP/2 between",
      from("pair-h2.yaml"),
      oneThread,
    ),
    ...bothOf(programs, "pair-mesh", `pair, both hops: ${filters}`, pairFrom("pair.yaml")),
    ...bothOf(
      programs,
      "pair-mesh-h2",
      `pair with HTTP/2 between, both hops: ${filters}`,
      pairFrom("pair-h2.yaml"),
      oneThread,
    ),
    ...bothOf(
      programs,
      "pair-mesh-grpc",
      `pair, both hops: ${filters}; gRPC`,
      composeGrpcPair,
      oneThread,
    ),
    ...bothOf(programs, "tcp", "TCP proxy", from("tcp.yaml")),
  ];
}

/**
 * What handshakes cost with OpenSSL and nothing else around it. Of its own version, which may know fewer ways to agree on
 * keys than Node's; one connection after the other, each as far as a pair's clients go: a page, and the end.
 */
const opensslServer: Contestant = {
  name: "openssl",
  kind: "tls",
  does: "OpenSSL's own server",
  configure: (folder, { PEER = "" }) => {
    const file = join(folder, "openssl.options");
    const names = ["-CAfile", "cert.pem", "-cert", "cert.pem", "-key", "key.pem"];
    const policy = ["-Verify", "1", "-verify_return_error", "-verify_quiet", "-num_tickets", "1"];
    writeFileSync(file, ["-accept", `127.0.0.1:${PEER}`, ...names, ...policy, "-WWW"].join("\n"));
    return file;
  },
  command: (file) => ["openssl", "s_server", ...readFileSync(file, "utf8").split("\n")],
  isServer: true,
};

/** Both data planes with one file of somebody's, as it is. */
export function contestantsOfFile(programs: Programs, file: string): readonly Contestant[] {
  return bothOf(programs, "file", file, () => file);
}

function bothOf(
  programs: Programs,
  kind: string,
  does: string,
  ...[configure, chosen = ways]: [configure: Contestant["configure"], chosen?: typeof ways]
): readonly Contestant[] {
  const own = chosen.map(([suffix, ...how]): Contestant => {
    const command = (file: string): readonly string[] => heddleCommand(programs.heddle, file, how);
    return { name: `heddle-${kind}${suffix}`, kind, does, configure, command };
  });
  return [...envoyOf(programs, kind, does, configure), ...own];
}

function envoyOf(
  { envoy, cores }: Programs,
  kind: string,
  does: string,
  configure: Contestant["configure"],
): readonly Contestant[] {
  if (envoy === undefined) return [];
  const options = ["--concurrency", String(cores), "--use-dynamic-base-id", "-l", "error"];
  const command = (file: string): readonly string[] => [envoy, "-c", file, ...options];
  return [{ name: `envoy-${kind}`, kind, does, configure, command }];
}

/** What is added to the name, and to the command; where proxies have one core, two workers share it. */
const ways: readonly (readonly [string, ...string[]])[] = [
  ["", "--io", "portable"],
  ["-epoll", "--io", "epoll"],
  ["-worker", "--io", "epoll", "--concurrency", "1"],
  ["-two-workers", "--io", "epoll", "--concurrency", "2"],
];

/** Workers serve HTTP/2 with the same code, and are compared with HTTP/1.1. */
const oneThread = ways.filter((way) => !way.includes("--concurrency"));

function heddleCommand(main: string, file: string, how: readonly string[]): readonly string[] {
  const flags = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=2"];
  const options = ["--config", file, "--log-level", "error", ...how];
  return [process.execPath, ...flags, main, "proxy", ...options];
}
