/**
 * What a change costs the control plane: the CPU time from a changed input to encoded responses for
 * every proxy. Inputs are made up, streams are in memory and acknowledge at once: nothing is measured
 * but our own work. `node bench/control-plane/main.ts [SERVICES] [ROUNDS]`
 */
import { buildMeshModel } from "../../src/control/mesh.ts";
import { proxyIdOf, ProxySnapshots } from "../../src/control/plane/proxy-snapshots.ts";
import { newTranslator } from "../../src/control/translate.ts";
import type { Snapshot } from "../../src/xds/snapshot.ts";
import { median } from "../median.ts";
import { AckingStream } from "./acking-stream.ts";
import { benchMesh, type BenchMesh } from "./bench-mesh.ts";

const servicesCount = Number(process.argv[2] ?? 100);
const rounds = Number(process.argv[3] ?? 9);

/** A control plane without sockets, in the order in which the real one does its work. */
class Plane {
  readonly #translate = newTranslator();
  readonly #snapshots = new ProxySnapshots();
  readonly #streams = new Map<string, AckingStream>();
  #generation = 0;

  /** Bytes sent. */
  push(mesh: BenchMesh): number {
    const { model } = buildMeshModel(mesh);
    const version = String(++this.#generation);
    let bytes = 0;
    this.#snapshots.startRound();
    for (const instance of mesh.workloads.instances) {
      const proxyId = proxyIdOf(instance);
      const types = this.#translate(model, instance);
      bytes += this.#send(proxyId, this.#snapshots.update(proxyId, version, types));
    }
    return bytes;
  }

  #send(proxyId: string, snapshot: Snapshot): number {
    const stream = this.#streams.get(proxyId) ?? new AckingStream();
    this.#streams.set(proxyId, stream);
    return stream.take(snapshot);
  }
}

interface Measurement {
  readonly cpuMs: number;
  readonly bytes: number;
}

function measure(task: () => number): Measurement {
  const before = process.cpuUsage();
  const bytes = task();
  const { user, system } = process.cpuUsage(before);
  return { cpuMs: (user + system) / 1000, bytes };
}

function print(what: string, measurements: readonly Measurement[]): void {
  const cpuMs = median(measurements.map((one) => one.cpuMs)).toFixed(1);
  const kilobytes = (median(measurements.map((one) => one.bytes)) / 1024).toFixed(0);
  console.log(`${what.padEnd(44)} ${cpuMs.padStart(9)} ms CPU ${kilobytes.padStart(9)} KiB sent`);
}

const plane = new Plane();
let mesh = benchMesh(servicesCount);
console.log(`${servicesCount} services, ${mesh.workloads.instances.length} proxies`);
print("first configuration, cold", [measure(() => plane.push(mesh))]);

const changes: readonly (readonly [what: string, change: (round: number) => BenchMesh])[] = [
  ["nothing changed", () => mesh],
  ["one instance becomes ready or unready", (round) => mesh.withReadiness(0, round % 2 === 1)],
  ["one VirtualService changes", (round) => mesh.withTimeout(0, round)],
  ["one DestinationRule changes", (round) => mesh.withConnections(0, round)],
  ["one AuthorizationPolicy changes", (round) => mesh.withAllowedPath(0, round)],
  ["the mesh's settings change: everything", (round) => mesh.withConnectTimeout(round)],
];
for (const [what, change] of changes) {
  const measurements: Measurement[] = [];
  for (let round = 1; round <= rounds; round++) {
    mesh = change(round);
    measurements.push(measure(() => plane.push(mesh)));
  }
  print(what, measurements);
}
