import assert from "node:assert/strict";
import { test } from "node:test";

import { defaultSidecarPorts } from "../../base/sidecar-options.ts";
import { parseHeddleFile } from "../heddle-file.ts";
import { planInstances } from "../plan.ts";
import { relayPortsFor } from "./relay-ports.ts";

const text = `
gateways: [{ name: edge, ports: [{ port: 80 }, { port: 61001 }] }]
workloads: [{ name: web, command: [web], ports: [{ port: 80 }] }]
`;

test("relayPortsFor() keeps clear of a gateway's own ports and of its sidecar's", () => {
  const { value } = parseHeddleFile(text, "heddle.yaml", "/x");
  assert(value !== undefined);
  const [edge, web] = planInstances(value);
  assert(edge !== undefined && web !== undefined);
  assert.deepEqual(relayPortsFor(edge, defaultSidecarPorts), [61_000, 61_002]);
  assert.deepEqual(
    relayPortsFor(edge, { ...defaultSidecarPorts, admin: 61_000 }),
    [61_002, 61_003],
  );
  assert.deepEqual(relayPortsFor(web, defaultSidecarPorts), []);
});
