/** What data planes say of the health of endpoints, and waiting until all say the same. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import type { Plane } from "./planes.ts";

interface HostStatus {
  readonly address: {
    readonly socket_address: { readonly address: string; readonly port_value: number };
  };
  readonly health_status: Readonly<Record<string, unknown>>;
}

interface ClusterStatus {
  readonly name: string;
  readonly host_statuses?: readonly HostStatus[];
}

/** Flags by endpoint, as `/clusters` prints them. */
export async function flagsOf(plane: Plane, name: string): Promise<readonly string[]> {
  const text = await plane.admin("/clusters");
  const prefix = `${name}::127`;
  return text
    .split("\n")
    .filter((line) => line.startsWith(prefix) && line.includes("::health_flags::"))
    .map((line) => line.replace(/:[0-9]+::health_flags/, ""))
    .toSorted();
}

export async function statusesOf(plane: Plane, name: string): Promise<readonly object[]> {
  const { cluster_statuses: all } = JSON.parse(await plane.admin("/clusters?format=json")) as {
    readonly cluster_statuses: readonly ClusterStatus[];
  };
  const found = all.find((each) => each.name === name)?.host_statuses ?? [];
  return found.map((each) =>
    Object.fromEntries(Object.entries(each.health_status).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
}

/** Waits until every data plane says the same as the last, which is Envoy, and that is `expected`. */
export async function agreedOf<T>(
  planes: readonly Plane[],
  ask: (plane: Plane) => Promise<T>,
  isDone: (found: T) => boolean,
): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await Promise.all(planes.map(ask));
    const last = found.at(-1) as T;
    const isSame = found.every((each) => JSON.stringify(each) === JSON.stringify(last));
    if (isSame && isDone(last)) return last;
    if (Date.now() > deadline) {
      for (const [i, plane] of planes.entries()) assert.deepEqual(found[i], last, plane.name);
      assert.fail(`all say ${JSON.stringify(last)}`);
    }
    await sleep(50);
  }
}
