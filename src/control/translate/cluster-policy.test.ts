/** Outlier detection and balancers, beside what istiod makes of the same fields (cluster_traffic_policy.go). */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { PortPolicy } from "../../model/destination-rule.ts";
import type { ClusterInit } from "./cluster-policy.ts";
import { policyFields } from "./cluster-policy.ts";

function fieldsOf(policy: PortPolicy): ClusterInit {
  return policyFields({ policy, spoken: "http1", isBalanced: true, connectTimeoutMs: 10_000 });
}

test("policyFields() ejects nothing by success rate, also where local errors count apart", () => {
  const split = fieldsOf({ outlierDetection: { splitExternalLocalOriginErrors: true } });
  assert.equal(split.outlierDetection?.enforcingLocalOriginSuccessRate, 0);
  assert.equal(split.outlierDetection?.enforcingSuccessRate, 0);
  const whole = fieldsOf({ outlierDetection: {} });
  assert.equal(whole.outlierDetection?.enforcingLocalOriginSuccessRate, undefined);
  assert.equal(whole.outlierDetection?.enforcingSuccessRate, 0);
});

test("policyFields() takes for unset what Istio cannot tell from 0", () => {
  const { outlierDetection } = fieldsOf({
    outlierDetection: {
      splitExternalLocalOriginErrors: true,
      consecutiveLocalOriginFailures: 0,
      maxEjectionPercent: 0,
    },
  });
  assert.equal(outlierDetection?.consecutiveLocalOriginFailure, undefined);
  assert.equal(outlierDetection?.enforcingConsecutiveLocalOriginFailure, undefined);
  assert.equal(outlierDetection?.maxEjectionPercent, undefined);
  const ring = fieldsOf({ loadBalancer: { consistentHash: { minimumRingSize: 0 } } });
  assert.deepEqual(ring.lbConfig?.value, { minimumRingSize: 1024n });
});

test("policyFields() turns off the rules of consecutive errors that are 0", () => {
  const { outlierDetection } = fieldsOf({
    outlierDetection: { consecutive5xxErrors: 0, consecutiveGatewayErrors: 0 },
  });
  assert.equal(outlierDetection?.enforcingConsecutive5xx, 0);
  assert.equal(outlierDetection?.enforcingConsecutiveGatewayFailure, 0);
});
