/**
 * What this machine allows: namespaces with or without root, the programs that make networks. What
 * is missing is named with the package that brings it; nothing here is fatal, explicit mode needs
 * none of it.
 */
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";

import { runCommand } from "./run/command.ts";
import type { NetworkOptions } from "./supervisor-options.ts";

export type Probe =
  | { readonly kind: "namespaces"; readonly network: NetworkOptions }
  /** One sentence: why, and what would help. */
  | { readonly kind: "explicit"; readonly reason: string };

export interface ProbeOptions {
  /** Of the user who starts the mesh. */
  readonly uid: number;
  /** The mesh's directory: under root, applications run as its owner. */
  readonly directory: string;
  readonly path: string;
  readonly hidden: readonly string[];
}

/** `unshare`'s arguments for the mesh's own namespaces. */
export function unshareArguments(uid: number): readonly string[] {
  const flags = ["--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"];
  return uid === 0 ? flags : ["--user", "--map-root-user", ...flags];
}

const packages: Readonly<Record<string, string>> = {
  unshare: "util-linux",
  nsenter: "util-linux",
  setpriv: "util-linux",
  ip: "iproute2",
  nft: "nftables",
};

export async function probeMachine(options: ProbeOptions): Promise<Probe> {
  if (process.platform !== "linux") {
    return {
      kind: "explicit",
      reason: `network namespaces need Linux, this is ${process.platform}`,
    };
  }
  const has = (program: string): boolean => findProgram(program, options.path) !== undefined;
  const missing = ["unshare", "nsenter", "setpriv", "ip"].filter((program) => !has(program));
  const firewall = has("nft") ? "nft" : has("iptables-restore") ? "iptables" : undefined;
  if (firewall === undefined) missing.push("nft");
  if (missing.length > 0 || firewall === undefined) {
    const wanted = [...new Set(missing.map((program) => packages[program] ?? program))];
    const reason = `${missing.join(", ")} missing; install ${wanted.join(", ")}`;
    return { kind: "explicit", reason };
  }
  const script = `ip link add heddle-a type veth peer name heddle-b && ip link add heddle-c type bridge && ${
    firewall === "nft"
      ? "nft 'add table inet heddle-probe { chain c { type nat hook output priority -100; }; }'"
      : "iptables-restore --test </dev/null"
  } && mount -t tmpfs heddle /proc/sys/fs && unshare --net true`;
  try {
    await runCommand(["unshare", ...unshareArguments(options.uid), "--", "sh", "-c", script]);
  } catch (thrown) {
    return { kind: "explicit", reason: whyForbidden(options.uid, thrown) };
  }
  return { kind: "namespaces", network: await networkOptions(options, firewall) };
}

async function networkOptions(
  options: ProbeOptions,
  firewall: NetworkOptions["firewall"],
): Promise<NetworkOptions> {
  const user = applicationUser(options);
  return {
    mtu: await hostMtu(),
    hasIpv6: existsSync("/proc/sys/net/ipv6"),
    firewall,
    hidden: options.hidden,
    ...(user === undefined ? {} : { applicationUser: user }),
  };
}

// Under root, applications run as whoever owns the directory, so that they can work in it; when root
// owns it, as nobody.
function applicationUser(options: ProbeOptions): NetworkOptions["applicationUser"] {
  if (options.uid !== 0) return undefined;
  const { uid, gid } = statSync(options.directory);
  return uid === 0 ? { uid: 65_534, gid: 65_534 } : { uid, gid };
}

function whyForbidden(uid: number, thrown: unknown): string {
  const said = thrown instanceof Error ? thrown.message.replace(/^could not run [^:]*: /, "") : "";
  const detail = said === "" ? "" : ` (${said.split("\n")[0]})`;
  const restricted = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
  if (uid !== 0 && readWord(restricted) === "1") {
    return `AppArmor forbids namespaces without root here${detail}; run as root, or set kernel.apparmor_restrict_unprivileged_userns=0`;
  }
  return uid === 0
    ? `namespaces are forbidden here${detail}`
    : `namespaces without root are forbidden here${detail}; run as root`;
}

/** The MTU of the device that the default route uses; 1500 when there is none. */
async function hostMtu(): Promise<number> {
  const ipv4 = readText("/proc/net/route")
    .split("\n")
    .map((line) => line.split("\t"));
  const ipv6 = readText("/proc/net/ipv6_route")
    .split("\n")
    .map((line) => line.split(/\s+/));
  const device =
    ipv4.find((fields) => fields[1] === "00000000")?.[0] ??
    ipv6.find((fields) => fields[0] === "0".repeat(32) && fields[9] !== "lo")?.[9];
  // Not from /sys, which may tell of another network namespace than this process is in.
  const link = device === undefined ? "" : await linkOf(device);
  const mtu = Number(/ mtu (\d+) /.exec(link)?.[1]);
  // IPv6 needs 1280; loopback-like devices say 65536, which bridges do not carry everywhere.
  return mtu >= 1280 && mtu <= 9216 ? mtu : 1500;
}

async function linkOf(device: string): Promise<string> {
  try {
    return await runCommand(["ip", "-o", "link", "show", "dev", device]);
  } catch {
    return ""; // it has just been taken away
  }
}

function readWord(path: string): string {
  return readText(path).trim();
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // a kernel without it
  }
}

/** The first executable of this name on a PATH. */
export function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((candidate) => isExecutable(candidate));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
