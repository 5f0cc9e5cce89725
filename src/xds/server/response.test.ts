import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import {
  DeltaDiscoveryResponse,
  DiscoveryResponse,
} from "../../wire/gen/ts/envoy/service/discovery/v3/discovery.ts";
import { encodedResource } from "../snapshot.ts";
import { encodeDeltaResponse, encodeSotwResponse } from "./response.ts";

const changes = fc.record({
  resources: fc.array(
    fc
      .tuple(fc.string({ minLength: 1 }), fc.uint8Array({ maxLength: 300 }))
      .map(([name, bytes]) => encodedResource(name, bytes)),
  ),
  removed: fc.array(fc.string({ minLength: 1 })),
});
const head = { typeUrl: "type.googleapis.com/a.B", version: "v1", nonce: "7" };

test("encodeDeltaResponse() is read back by the generated codec", () => {
  fc.assert(
    fc.property(changes, (change) => {
      const response = DeltaDiscoveryResponse.decode(encodeDeltaResponse(head, change));
      assert.equal(response.systemVersionInfo, head.version);
      assert.equal(response.typeUrl, head.typeUrl);
      assert.equal(response.nonce, head.nonce);
      assert.deepEqual(response.removedResources, change.removed);
      assert.deepEqual(
        response.resources.map((r) => [
          r.name,
          r.version,
          r.resource?.typeUrl,
          [...(r.resource?.value ?? [])],
        ]),
        change.resources.map((r) => [r.name, r.version, head.typeUrl, [...r.bytes]]),
      );
    }),
  );
});

test("encodeSotwResponse() is read back by the generated codec", () => {
  fc.assert(
    fc.property(changes, (change) => {
      const response = DiscoveryResponse.decode(encodeSotwResponse(head, change));
      assert.equal(response.versionInfo, head.version);
      assert.equal(response.typeUrl, head.typeUrl);
      assert.equal(response.nonce, head.nonce);
      assert.deepEqual(
        response.resources.map((r) => [r.typeUrl, [...r.value]]),
        change.resources.map((r) => [head.typeUrl, [...r.bytes]]),
      );
    }),
  );
});
