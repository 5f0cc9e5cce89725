/** Runs the supervisor in this process, without namespaces: explicit mode. */
import type { Clock } from "../../base/clock.ts";
import { HeddleError } from "../../base/error.ts";
import { openExplicit } from "../place/explicit.ts";
import { readUsableMeshFile } from "../run/mesh-source.ts";
import { socketOpener } from "../run/open-sockets.ts";
import { Supervisor } from "../supervisor.ts";
import type { SupervisorOptions } from "../supervisor-options.ts";
import { type HostListener, openHostListener } from "./host-listener.ts";
import type { MeshProcess } from "./namespaced-mesh.ts";
import { Readiness } from "./readiness.ts";
import { startWatchdog } from "./watchdog.ts";

export interface ExplicitMeshOptions {
  readonly supervisor: Omit<SupervisorOptions, "console">;
  readonly clock: Clock;
  readonly console: HostListener;
  /** Free on the host; the gateways open them themselves. */
  readonly gateways: readonly HostListener[];
  readonly onStep: (text: string) => void;
}

export async function startExplicitMesh(options: ExplicitMeshOptions): Promise<MeshProcess> {
  const { clock, console, onStep } = options;
  // They were opened to know that they are free; control plane and gateways open them themselves.
  const held = [console, ...options.gateways];
  await Promise.all(held.map(async ({ server }) => await closed(server)));
  const watchdog = startWatchdog();
  const ended = Promise.withResolvers<string>();
  const readiness = new Readiness();
  const usable = readUsableMeshFile(options.supervisor.meshFile);
  const placement = await openExplicit({
    controlPlanePorts: usable.file.ports.controlPlane,
    chosen: new Map(options.gateways.map(({ key, address }) => [key, address.port])),
    openOnHost: openHostListener,
  });
  const supervisor = new Supervisor(
    {
      options: {
        ...options.supervisor,
        console: console.address,
      },
      placement,
      hostPorts: placement,
      clock,
      onStep,
      onReady: (notReady) => readiness.tell(notReady),
      onProcess: (pid) => watchdog.watch(pid),
      openSockets: socketOpener((line) => onStep(line.trimEnd())),
    },
    usable,
  );
  supervisor.start().catch((thrown: unknown) => readiness.fail(thrown));
  return {
    readiness,
    ended: ended.promise,
    pid: process.pid,
    async stop(graceMs) {
      const force = setTimeout(() => watchdog.close(), graceMs);
      await supervisor.close();
      clearTimeout(force);
      watchdog.forget();
      watchdog.close();
      readiness.fail(new HeddleError("local.ended", "the mesh was stopped"));
      ended.resolve("the mesh was stopped");
    },
  };
}

async function closed(server: HostListener["server"]): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}
