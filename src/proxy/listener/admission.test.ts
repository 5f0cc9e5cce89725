import assert from "node:assert/strict";
import { test } from "node:test";

import type { OverloadState } from "../overload.ts";
import { type AdmissionOptions, type ConnectionCounts, isAdmitted } from "./admission.ts";

const calm: OverloadState = {
  connectionsMax: 10,
  youngConnectionsMax: 5,
  refusesRequests: false,
  refusesConnections: false,
  endsConnections: false,
};

function admits(
  overload: Partial<OverloadState>,
  listener: Partial<AdmissionOptions>,
  counts: Partial<ConnectionCounts>,
): boolean {
  return isAdmitted(
    { ...calm, ...overload },
    { bypassesOverload: false, ignoresConnectionLimit: false, ...listener },
    { open: 0, young: 0, ...counts },
  );
}

test("isAdmitted() bounds connections, those that came lately, and all while memory is short", () => {
  assert.equal(admits({}, {}, { open: 9, young: 4 }), true);
  assert.equal(admits({}, {}, { open: 10 }), false);
  assert.equal(admits({}, {}, { young: 5 }), false);
  assert.equal(admits({ refusesConnections: true }, {}, {}), false);
});

test("isAdmitted() leaves listeners alone that ask for it", () => {
  const ignores = { ignoresConnectionLimit: true };
  assert.equal(admits({}, ignores, { open: 10 }), true);
  assert.equal(admits({ refusesConnections: true }, ignores, {}), false);
  const bypasses = { bypassesOverload: true };
  assert.equal(admits({ refusesConnections: true }, bypasses, { open: 10, young: 5 }), true);
});
