import assert from "node:assert/strict";
import { test } from "node:test";

import { defaultSidecarPorts } from "../../base/sidecar-options.ts";
import { formatProblem } from "../../base/problem.ts";
import { parseHeddleFile } from "../heddle-file.ts";
import type { MeshFile } from "../mesh-file.ts";
import { controlPlanePortsOf, sidecarPortsOf } from "./ports.ts";
import { explicitProblems, restartProblems } from "./unheeded.ts";

const run = "workloads: [{ name: web, command: [web], ports: [{ port: 80, targetPort: 8080 }] }]\n";

function parse(text: string): MeshFile {
  const { value, problems } = parseHeddleFile(text, "heddle.yaml", "/x");
  assert(value !== undefined, problems.map(formatProblem).join("\n"));
  return value;
}

function problemsOf(text: string): readonly string[] {
  return parseHeddleFile(text, "heddle.yaml", "/x").problems.map((one) => {
    const { source, code, message } = one;
    return `${source?.line}:${source?.column} ${code} ${message}`;
  });
}

test("readPorts() takes what is written, and Istio's for the rest", () => {
  const none = parse(run);
  assert.deepEqual(controlPlanePortsOf(none), {
    secureXds: 15012,
    plainXds: 15010,
    metrics: 15014,
  });
  assert.deepEqual(sidecarPortsOf(none), defaultSidecarPorts);
  const some = parse(
    `${run}ports: { controlPlane: { secureXds: 16012 }, sidecar: { ready: 16021 } }`,
  );
  assert.deepEqual(controlPlanePortsOf(some), {
    secureXds: 16012,
    plainXds: 15010,
    metrics: 15014,
  });
  assert.deepEqual(sidecarPortsOf(some), { ...defaultSidecarPorts, ready: 16021 });
  // Two may change places.
  const swapped = parse(`${run}ports: { sidecar: { ready: 15020, mergedMetrics: 15021 } }`);
  assert.equal(sidecarPortsOf(swapped).mergedMetrics, 15021);
});

test("readPorts() refuses what is no port, and fields there are none of", () => {
  const wrong = "{ admin: 65536, ready: soon, dns: 0 }";
  const must = (field: string): string =>
    `heddle-file.type ${field} must be a whole number from 1 to 65535`;
  assert.deepEqual(problemsOf(`${run}ports: { sidecar: ${wrong} }`), [
    `2:28 ${must("admin")}, not "65536"`,
    `2:42 ${must("ready")}, not "soon"`,
    `2:53 ${must("dns")}, not "0"`,
  ]);
  assert.deepEqual(problemsOf(`${run}ports: { proxy: { tunnel: 1 } }`), [
    "2:10 heddle-file.unknown-field proxy is not a field here",
  ]);
  assert.deepEqual(problemsOf(`${run}ports: { sidecar: { tunnel: 15008 } }`), [
    "2:21 heddle-file.unknown-field tunnel is not a field here",
  ]);
});

test("checkOwnPorts() gives each port one use, and says where another is written", () => {
  const duplicate = (text: string, expected: string): void => {
    assert.deepEqual(problemsOf(text), [expected]);
  };
  duplicate(
    `${run}ports: { sidecar: { admin: 15021 } }`,
    "2:28 heddle-file.duplicate ports.sidecar.admin is 15021, which is also the port of ports.sidecar.ready",
  );
  duplicate(
    `${run}ports: { controlPlane: { metrics: 700 }, sidecar: { metrics: 700 } }`,
    "2:62 heddle-file.duplicate ports.sidecar.metrics is 700, which is also the port of ports.controlPlane.metrics",
  );
  duplicate(
    `${run}ports: { controlPlane: { plainXds: 15099 } }`,
    "2:36 heddle-file.duplicate ports.controlPlane.plainXds is 15099, which is also the port of the edge of the mesh",
  );
});

test("checkOwnPorts() keeps sidecars from the ports of what they stand beside", () => {
  const duplicate = (text: string, expected: string): void => {
    assert.deepEqual(problemsOf(text), [expected]);
  };
  duplicate(
    `${run}ports: { sidecar: { inbound: 8080 } }`,
    "2:30 heddle-file.duplicate ports.sidecar.inbound is 8080, which is also a port of web",
  );
  duplicate(
    "workloads: [{ name: web, command: [web], ports: [{ port: 80, targetPort: 15001 }] }]",
    "1:13 heddle-file.duplicate ports.sidecar.outbound is 15001, which is also a port of web",
  );
  duplicate(
    "workloads: [{ name: web, command: [web], metrics: { port: 9100 } }]\nports: { sidecar: { metrics: 9100 } }",
    "2:30 heddle-file.duplicate ports.sidecar.metrics is 9100, which is also a port of web",
  );
  duplicate(
    "gateways: [{ name: edge, ports: [{ port: 80, hostPort: 8081 }] }]\nports: { sidecar: { ready: 80 } }",
    "2:28 heddle-file.duplicate ports.sidecar.ready is 80, which is also a port of edge",
  );
  // HBONE's number is nobody's as long as nobody speaks HBONE; the edge's is not in a workload's network.
  for (const port of [15008, 15099]) {
    parse(
      `workloads: [{ name: web, command: [web], ports: [{ port: ${port}, targetPort: ${port} }] }]`,
    );
  }
  assert.equal(
    sidecarPortsOf(parse(`${run}ports: { sidecar: { inbound: 15008 } }`)).inbound,
    15008,
  );
  // A service's number is nobody's port: only addresses of services have it.
  parse("workloads: [{ name: web, command: [web], ports: [{ port: 15001, targetPort: 8080 }] }]");
});

test("checkOwnPorts() keeps a written port of the control plane from the host's", () => {
  assert.deepEqual(problemsOf(`${run}ports: { controlPlane: { metrics: 9977 } }`), [
    "2:35 heddle-file.duplicate ports.controlPlane.metrics is 9977, which is also the console's port",
  ]);
  const gateway = "gateways: [{ name: edge, ports: [{ port: 80, hostPort: 15012 }] }]\n";
  parse(gateway); // in namespaces of its own there is no clash
  assert.deepEqual(problemsOf(`${gateway}ports: { controlPlane: { secureXds: 15012 } }`), [
    "2:37 heddle-file.duplicate ports.controlPlane.secureXds is 15012, which is also a hostPort of edge",
  ]);
});

test("restartProblems() names each changed port, also one that is left out again", () => {
  const changed = (before: string, after: string, isExplicit = false): readonly string[] =>
    restartProblems(parse(before), parse(after), { isExplicit }).map((one) => {
      assert.equal(one.code, "heddle-file.restart-needed");
      return `${one.source?.line}:${one.source?.column} ${one.message.split(":")[0]}`;
    });
  const given = `${run}ports: { controlPlane: { metrics: 16014 }, sidecar: { ready: 16021 } }`;
  const control = "2:35 ports.controlPlane.metrics is 16014 here and 15014 in the mesh that runs";
  const sidecar = "2:62 ports.sidecar.ready is 16021 here and 15021 in the mesh that runs";
  assert.deepEqual(changed(run, given), [control, sidecar]);
  assert.deepEqual(changed(run, given, true), [control]);
  assert.deepEqual(changed(given, given), []);
  assert.deepEqual(changed(given, run), [
    "1:1 ports.controlPlane.metrics is 15014 here and 16014 in the mesh that runs",
    "1:1 ports.sidecar.ready is 15021 here and 16021 in the mesh that runs",
  ]);
  // Istio's own number, written.
  assert.deepEqual(changed(run, `${run}ports: { sidecar: { ready: 15021 } }`), []);
});

test("explicitProblems() says that sidecars have ports of their own there", () => {
  const found = (ports: string): readonly string[] =>
    explicitProblems(parse(`${run}ports: ${ports}`)).map(
      ({ code, path, source }) => `${source?.line}:${source?.column} ${code} ${path}`,
    );
  assert.deepEqual(found("{ sidecar: { ready: 16021 } }"), [
    "2:19 heddle-file.explicit ports.sidecar",
  ]);
  assert.deepEqual(found("{ controlPlane: { metrics: 16014 } }"), []);
});
