/**
 * The supervisor's process inside the mesh's namespaces, where it is PID 1: makes the network, keeps
 * the edge, and ends when the channel to the host does. With it, the kernel ends everything inside.
 */
import { systemClock } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import { originalDestinationOf } from "../net/socket-handle.ts";
import { openEdge } from "./edge/edge.ts";
import { type HostLink, openHostLink } from "./edge/host-link.ts";
import { controlPlanePortsOf, sidecarPortsOf } from "./file/ports.ts";
import { gatewayOpener } from "./edge/gateway-opener.ts";
import { readAddressBooks } from "./mesh-addresses.ts";
import { openNamespaces } from "./place/namespaces.ts";
import { installationFolder, programFolders } from "./place/program-folders.ts";
import { readUsableMeshFile } from "./run/mesh-source.ts";
import { socketOpener } from "./run/open-sockets.ts";
import { Supervisor } from "./supervisor.ts";
import type { SupervisorOptions } from "./supervisor-options.ts";

/** Runs until the host asks for the end; ends the process. */
export async function supervise(options: SupervisorOptions): Promise<void> {
  let supervisor: Supervisor | undefined;
  const link = openHostLink((isGone) => {
    // Whoever would see an orderly stop is gone: the quickest end is the kernel's.
    if (isGone || supervisor === undefined) process.exit(1);
    supervisor.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
  try {
    supervisor = await start(options, link);
  } catch (thrown) {
    const code = thrown instanceof HeddleError ? thrown.code : "local.failed";
    link.tell({ kind: "failed", code, message: messageOf(thrown) });
  }
}

async function start(options: SupervisorOptions, link: HostLink): Promise<Supervisor> {
  const { hasIpv6, mtu, firewall, hidden, applicationUser } = options.network;
  const usable = readUsableMeshFile(options.meshFile);
  const placement = await openNamespaces({
    stateDir: options.stateDir,
    books: readAddressBooks(options.stateDir),
    mtu,
    hasIpv6,
    firewall,
    hidden,
    // Whoever writes the mesh's folder decides what its policies say.
    readOnly: [...programFolders(options.heddle), options.directory],
    needed: [options.directory, installationFolder(options.heddle)],
    applicationUser,
    controlPlanePorts: controlPlanePortsOf(usable.file),
    sidecarPorts: sidecarPortsOf(usable.file),
  });
  link.tell({ kind: "step", text: "the mesh's network is up" });
  const onRefused = onceASecond((reason) => console.error(`edge: ${reason}`));
  const edge = await openEdge({
    link,
    hasIpv6,
    dnsPort: placement.dnsPort,
    originalDestination: originalDestinationOf,
    relayPortOf: (target) => placement.relayPortOf(target),
    onRefused,
  });
  const supervisor = new Supervisor(
    {
      options,
      placement,
      clock: systemClock,
      onStep: (text) => link.tell({ kind: "step", text }),
      onReady: (notReady) => link.tell({ kind: "ready", notReady }),
      hostPorts: gatewayOpener(link, edge),
      onProcess: () => {
        // The PID namespace ends them all.
      },
      openSockets: socketOpener((line) => void process.stderr.write(line)),
    },
    usable,
  );
  await supervisor.start();
  return supervisor;
}

/** The same sentence at most once a second: a loop that fails must not fill the disk. */
function onceASecond(say: (text: string) => void): (text: string) => void {
  const lastMs = new Map<string, number>();
  return (text) => {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - (lastMs.get(text) ?? -1000) < 1000) return;
    if (lastMs.size > 256) lastMs.clear();
    lastMs.set(text, nowMs);
    say(text);
  };
}
