/**
 * Access logs of both data planes, in Istio's text and JSON formats: the same traffic gives the same
 * lines, field by field, but for what no two requests share (times, ids, ephemeral ports). One
 * difference is meant: Heddle's proxy escapes quotes in text lines (`\\x22`), Envoy passes them.
 */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { eventually, type MeshMode, meshModes, type TestMesh } from "./support/mesh.ts";
import {
  type DataPlane,
  dataPlanes,
  drive,
  echoOf,
  startMetricsMesh,
  type Step,
} from "./support/metrics-mesh.ts";

type Encoding = "TEXT" | "JSON";

const instances = ["client-0.default", "server-0.default", "plain-0.default"] as const;
type Lines = ReadonlyMap<string, readonly string[]>;

function stepsFor(mesh: TestMesh): readonly Step[] {
  const headers = { "user-agent": "log/1", "x-forwarded-for": "203.0.113.9" };
  return [
    { url: "http://server/status/200?bytes=300", headers },
    { url: "http://server/status/404", method: "POST", bytes: 120 },
    { url: "http://server/broken" },
    { url: "http://server/direct" },
    { url: "http://server/late?ms=5000" },
    { url: "http://server/denied" },
    { url: "http://plain/status/500" },
    { url: "http://empty/" },
    { url: "http://nobody.example/" },
    { tcp: echoOf(mesh, "server"), bytes: 700 },
    { tcp: echoOf(mesh, "plain"), bytes: 70 },
  ];
}

/** Lines that each step leaves at the client, the server and the plain server. */
const lineCounts: Readonly<Record<(typeof instances)[number], number>> = {
  "client-0.default": 11,
  "server-0.default": 5,
  "plain-0.default": 2,
};

async function logsOf(mode: MeshMode, dataPlane: DataPlane, encoding: Encoding): Promise<Lines> {
  const file = "accessLogFile: /dev/stdout";
  const replace = { [file]: `${file}\n  accessLogEncoding: ${encoding}` };
  await using mesh = await startMetricsMesh({ mode, dataPlane, replace });
  await drive(mesh, stepsFor(mesh));
  const linesOf = (instance: string): readonly string[] =>
    mesh
      .log(`${instance}.proxy.log`)
      .split("\n")
      .filter((line) => (encoding === "JSON" ? line.startsWith("{") : /^\[[\d-]+T/.test(line)));
  await eventually(
    "every line is written",
    () => instances.every((one) => linesOf(one).length >= lineCounts[one]),
    20_000, // Envoy flushes its access log every ten seconds
  ).catch(() => {});
  const normal = encoding === "JSON" ? normalJson : normalText;
  return new Map(instances.map((one) => [one, linesOf(one).map(normal).toSorted()]));
}

const patterns: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME"],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "ID"],
  // Only well-known ports are the same next time.
  [/:([2-6]\d{4})(?=["\s]|$)/g, ":PORT"],
];

function withoutChance(text: string): string {
  return patterns.reduce((line, [pattern, name]) => line.replaceAll(pattern, name), text);
}

/** The duration and the upstream's time are numbers before the forwarded address. */
function normalText(line: string): string {
  return withoutChance(line)
    .replace(/ (\d+) (\d+) (\d+) (\d+|-) "/, ' $1 $2 DURATION $4 "')
    .replace(/ DURATION (\d+) "/, ' DURATION TIME "');
}

function normalJson(line: string): string {
  const fields: Readonly<Record<string, unknown>> = JSON.parse(line);
  const shown = Object.entries(fields)
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, value]) => {
      if (name === "duration") return [name, typeof value];
      if (name === "upstream_service_time") {
        return [name, value === null || value === "-" ? value : typeof value];
      }
      return [name, typeof value === "string" ? withoutChance(value) : value];
    });
  return JSON.stringify(Object.fromEntries(shown));
}

for (const mode of meshModes) {
  for (const encoding of ["TEXT", "JSON"] as const) {
    describe(`access logs, ${mode}, ${encoding}`, () => {
      const logs = new Map<DataPlane, Lines>();
      before(async () => {
        for (const plane of dataPlanes) logs.set(plane, await logsOf(mode, plane, encoding));
      });

      for (const instance of instances) {
        test(`of ${instance} agree, line by line`, () => {
          const [ours, envoys] = dataPlanes.map((plane) => logs.get(plane)?.get(instance) ?? []);
          assert.deepEqual(ours, envoys);
          assert.equal(ours?.length, lineCounts[instance]);
        });
      }
    });
  }
}
