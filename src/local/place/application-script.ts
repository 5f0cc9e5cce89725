/**
 * The shell script that stands between the supervisor and an application in its namespaces. It runs
 * with the mesh's power, hides what the application must not reach, gives that power up for good and
 * becomes the application's init: it passes SIGTERM on and ends with the application's code.
 */
import type { ProcessSpec } from "../run/kept-process.ts";
import type { Detour, User } from "./detours.ts";

export interface Confinement {
  /** File that `nsenter` joins. */
  readonly networkNamespace: string;
  /** Put in the place of /etc/resolv.conf. */
  readonly resolvConf: string;
  /** Directories that the application finds empty, if they exist. */
  readonly hidden: readonly string[];
  /** Files and directories that the application can read and not write, if they exist. */
  readonly readOnly: readonly string[];
  /** Directories inside of those that it can write after all. */
  readonly writable: readonly string[];
  /** A folder to put mounts together in; hidden afterwards. */
  readonly workshop: string;
  /** Root drops to this user; without root the application gets a user namespace of its own. */
  readonly user: User | undefined;
  readonly detours: readonly Detour[];
}

// Lookups through these sockets would go around the mesh's DNS.
const resolverSockets = ["/run/systemd/resolve", "/run/nscd", "/var/run/nscd", "/run/avahi-daemon"];

// An init that nobody wrote a SIGTERM handler for ignores SIGTERM: so the application is its child.
const init =
  'trap \'kill -TERM "$child" 2>/dev/null\' TERM INT; "$@" & child=$!; ' +
  'wait "$child"; code=$?; while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; exit "$code"';

export function confinedSpec(spec: ProcessSpec, confinement: Confinement): ProcessSpec {
  const { networkNamespace, user, workshop } = confinement;
  const drop =
    user === undefined
      ? "unshare --user --map-user=1000 --map-group=1000 -- setpriv --no-new-privs"
      : `setpriv --reuid=${user.uid} --regid=${user.gid} --clear-groups --no-new-privs ` +
        "--inh-caps=-all --ambient-caps=-all --bounding-set=-all";
  const script = [
    "set -e",
    ...hide(resolverSockets),
    'if [ ! -e /etc/resolv.conf ]; then target=$(readlink -m /etc/resolv.conf); mkdir -p "$(dirname "$target")"; : >"$target"; fi',
    `mount --bind ${quote(confinement.resolvConf)} /etc/resolv.conf`,
    ...takeDetours(confinement.detours, workshop),
    ...confinement.writable.map((path, i) => keep(path, `${workshop}/${i}`)),
    ...confinement.readOnly.map(protect),
    ...confinement.writable.map((path, i) => bind(`${workshop}/${i}`, path)),
    ...hide(confinement.hidden),
    // The folder it was started in is the one beneath the protection.
    `cd ${quote(spec.directory)}`,
    `exec ${drop} -- sh -c ${quote(init)} heddle-init "$@"`,
  ].join("\n");
  const command = [
    "nsenter",
    `--net=${networkNamespace}`,
    "--",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
    "sh",
    "-c",
    script,
    "heddle-application",
    ...spec.command,
  ];
  return { ...spec, command };
}

function hide(directories: readonly string[]): readonly string[] {
  return directories.map((directory) => {
    const quoted = quote(directory);
    return `if [ -d ${quoted} ]; then mount -t tmpfs -o size=64k,mode=0755 heddle ${quoted}; fi`;
  });
}

// In a user namespace a mount's other flags are locked and must be repeated.
function protect(path: string): string {
  return (
    `if path=$(readlink -e ${quote(path)}); then mount --bind "$path" "$path"; ` +
    'flags=$(findmnt -n -o VFS-OPTIONS --mountpoint "$path" | tail -n 1 | sed s/^rw/ro/); ' +
    'mount -o "remount,bind,$flags" "$path"; fi'
  );
}

/**
 * Lines of a script that put folders with nothing but what is needed in the place of closed ones.
 * `workshop` may lie in one of them.
 */
export function takeDetours(detours: readonly Detour[], workshop: string): readonly string[] {
  return detours.map((detour, i) => open(detour, `${workshop}/open-${i}`));
}

function open({ closed, needed }: Detour, place: string): string {
  const steps = needed.map((path) => {
    const inside = quote(place + path.slice(closed.length));
    return `if [ -d ${quote(path)} ]; then mkdir -p ${inside}; else mkdir -p $(dirname ${inside}); : >${inside}; fi; mount --rbind ${quote(path)} ${inside}`;
  });
  return [
    `mkdir -p ${quote(place)}`,
    `mount -t tmpfs -o size=64k,mode=0755 heddle ${quote(place)}`,
    ...steps,
    `mount --rbind ${quote(place)} ${quote(closed)}`,
  ].join("; ");
}

function keep(path: string, place: string): string {
  const lack = quote(`heddle: the writable folder ${path} does not exist`);
  const link = quote(`heddle: the writable folder ${path} has become a link`);
  const check =
    `[ -d ${quote(path)} ] || { echo ${lack} >&2; exit 1; }; ` +
    // Another application may write the folder above it, and put a link to the policies there.
    `[ "$(readlink -f ${quote(path)})" = ${quote(path)} ] || { echo ${link} >&2; exit 1; }`;
  return `${check}; mkdir -p ${quote(place)}; ${bind(path, place)}`;
}

function bind(from: string, to: string): string {
  return `mount --bind ${quote(from)} ${quote(to)}`;
}

/** One word for `sh`. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
