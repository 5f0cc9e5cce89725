/**
 * What data planes count: the same load under Heddle (both I/O backends, and data workers) and under
 * Envoy, and every series that Envoy then shows. A name is compared by its values, or by being there, or
 * stands with its reason in docs/stats.md: one that is nowhere fails.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "../../support/free-port.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";
import { Application, bootstrap, type Door, doors, load } from "./stats-load.ts";

const application = new Application();
let planes: Planes<Door>;
const series = new Map<PlaneName, ReadonlyMap<string, number>>();

before(async () => {
  const endpoints = await application.start(await freePort());
  planes = await startPlanes(doors, (ports, { adminPort }) =>
    bootstrap(ports, endpoints, adminPort > 1),
  );
  for (const plane of ["envoy", ...planeNames] as const) {
    const ejected = async (): Promise<void> => {
      const name = "envoy_cluster_outlier_detection_ejections_active{cluster_name=outlier}";
      await until(plane, "no endpoint was ejected", (found) => found.get(name) === 1);
    };
    await load((door) => planes.port(plane, door), application, ejected);
    series.set(plane, await until(plane, "connections do not end", isSettled));
  }
});

after(async () => {
  await planes?.close();
  application.close();
});

/** What a plane shows once it is so. */
async function until(
  plane: PlaneName,
  otherwise: string,
  isSo: (found: ReadonlyMap<string, number>) => boolean,
): Promise<ReadonlyMap<string, number>> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = readSeries((await planes.admin(plane, "/stats?format=prometheus")).body);
    if (isSo(found)) return found;
    if (Date.now() > deadline) throw new Error(`${plane}: ${otherwise}`);
    await sleep(20);
  }
}

/** Every connection of the load is gone, and histograms have been gathered. */
function isSettled(found: ReadonlyMap<string, number>): boolean {
  const value = (name: string, label: string): number => found.get(`envoy_${name}{${label}}`) ?? 0;
  const managers = ["front", "second", "upgraded"].map((of) => `http_conn_manager_prefix=${of}`);
  const isOpen =
    managers.some((of) => value("http_downstream_cx_active", of) > 0) ||
    value("listener_downstream_cx_active", "listener_address=raw") > 0 ||
    ["app", "raw", "upgraded"].some(
      (of) => value("cluster_upstream_rq_active", `cluster_name=${of}`) > 0,
    );
  const isGathered = managers.every(
    (of) =>
      value("http_downstream_cx_length_ms_count", of) === value("http_downstream_cx_total", of),
  );
  return !isOpen && isGathered;
}

/** By name and labels, those in order and without Envoy's prefix; of histograms their counts. */
function readSeries(text: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^([^#{ ]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) continue;
    const [, name = "", labels = "", value = ""] = match;
    if (/_(bucket|sum)$/.test(name)) continue;
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(
      ([, key = "", of]) => `${key.replace(/^envoy_/, "")}=${of}`,
    );
    // Envoy's codec of HTTP/2 counts for all connection managers together.
    const shown = name.startsWith("envoy_http2_") ? "" : pairs.toSorted().join(",");
    const key = `${name}{${shown}}`;
    found.set(key, (found.get(key) ?? 0) + Number(value));
  }
  return found;
}

function nameOf(key: string): string {
  return key.slice(0, key.indexOf("{"));
}

/** There in both, with other values: what is measured, or framed, in another way. */
const onlyThere: readonly (string | RegExp)[] = [
  /^envoy_server_(memory_\w+|uptime|version)$/,
  // A loaded machine makes threads wait.
  /^envoy_workers_watchdog_\w+$/,
  // Headers of HTTP/2 are compressed in another order, and settings differ.
  /^envoy_cluster_upstream_cx_[rt]x_bytes_total\{cluster_name=h2\}$/,
  // x-envoy-upstream-service-time has as many digits as the time that passed.
  /^envoy_http_downstream_cx_[rt]x_bytes_total\{http_conn_manager_prefix=(front|second|upgraded)\}$/,
  // Of a tunnel whose client has closed its half Envoy closes both, and Heddle passes it on.
  /^envoy_cluster_upstream_cx_destroy\w*\{cluster_name=upgraded\}$/,
  /^envoy_http_downstream_(cx_destroy\w+|rq_rx_reset)\{http_conn_manager_prefix=upgraded\}$/,
];

/** Which thread serves a connection decides which connections to endpoints it finds. */
const byThread = /^envoy_(cluster_upstream_(cx_|rq_pending_total)|server_concurrency)/;

/** Nobody asks anything of them but whether a proxy is there, or what it counts. */
const aside = /=(probe|admin)\b/;

function isThere(key: string): boolean {
  return onlyThere.some((one) =>
    typeof one === "string" ? one === nameOf(key) : one.test(key) || one.test(nameOf(key)),
  );
}

/** Names that docs/stats.md says are not there. */
const absent = readFileSync(new URL("../../../docs/stats.md", import.meta.url), "utf8")
  .split("\n")
  .flatMap((line) =>
    line.startsWith("| `") ? [...(line.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)] : [],
  )
  .map(([, pattern = ""]) => new RegExp(`^envoy_${pattern.replaceAll("*", "\\w*")}(_count)?$`));

function seriesOf(plane: PlaneName): ReadonlyMap<string, number> {
  const found = series.get(plane);
  assert.ok(found !== undefined);
  return found;
}

test("every series of Envoy is there, or stands in docs/stats.md with a reason", () => {
  const ours = new Set(planeNames.flatMap((plane) => [...seriesOf(plane).keys()].map(nameOf)));
  const names = new Set([...seriesOf("envoy").keys()].map(nameOf));
  const unexplained = [...names].filter(
    (name) => !ours.has(name) && !isUncounted(name) && !absent.some((one) => one.test(name)),
  );
  assert.deepEqual(unexplained, []);
  const wrong = [...ours].filter((name) => absent.some((one) => one.test(name)));
  assert.deepEqual(wrong, [], "said not to be there, and are");
});

/** Made by Heddle when they first happen, which they did not here. */
function isUncounted(name: string): boolean {
  const isZero = [...seriesOf("envoy")].every(
    ([key, value]) => nameOf(key) !== name || value === 0,
  );
  return isZero && madeLate.test(name);
}

const madeLate = new RegExp(
  `^envoy_(${[
    "cluster_(assignment_(stale|timeout_received)|lb_\\w+|outlier_detection_ejections_\\w+)",
    "cluster_circuit_breakers_(default|high)_\\w+_open",
    "cluster_(bind_errors|update_(attempt|success))",
    "cluster_upstream_cx_(connect_attempts_exceeded|connect_timeout|idle_timeout|max_duration_reached|max_requests|none_healthy)",
    "cluster_upstream_cx_(destroy\\w*|pool_overflow|protocol_error|connect_ms_count|length_ms_count)",
    "cluster_upstream_internal_redirect_\\w+",
    "cluster_(original_dst_host_invalid|upstream_rq_active_overflow)",
    "cluster_upstream_rq_(cancelled|max_duration_reached|pending_\\w+|per_try_\\w*timeout|[rt]x_reset)",
    "http_downstream_cx_(delayed_close_timeout|destroy\\w*|ssl_\\w+|upgrades_\\w+)",
    "http_downstream_rq_(failed_path_normalization|redirected_with_normalized_path|too_large|tx_reset)",
    "http_downstream_rq_ws_on_non_ws_route",
    "http_passthrough_internal_redirect_\\w+",
    "http_rq_reset_after_downstream_response_started",
  ].join("|")})$`,
);

for (const plane of planeNames) {
  test(`series count what Envoy's do (${plane})`, () => {
    const ours = seriesOf(plane);
    const theirs = seriesOf("envoy");
    const named = new Set([...ours.keys()].map(nameOf));
    const known = new Set([...theirs.keys()].map(nameOf));
    const differing = [...new Set([...ours.keys(), ...theirs.keys()])]
      .filter((key) => named.has(nameOf(key)) && known.has(nameOf(key)))
      .filter((key) => !aside.test(key) && !isThere(key))
      .filter((key) => plane !== "two workers" || !byThread.test(key))
      .filter((key) => (ours.get(key) ?? 0) !== (theirs.get(key) ?? 0))
      .map((key) => `${key} ${ours.get(key) ?? "-"}, Envoy ${theirs.get(key) ?? "-"}`);
    assert.deepEqual(differing, []);
  });
}
