/**
 * What becomes of a request, over one bootstrap file, under Heddle's data plane and under Envoy: what
 * the client sees, what the upstream sees, what the access log says. Where the two differ, and are
 * meant to, `acceptedDifferences` says why.
 */
import { comparePlanes } from "./compared-planes.ts";
import { scenarioBootstrap } from "./scenario-bootstrap.ts";
import { acceptedDifferences } from "./scenario-differences.ts";
import { scenarios } from "./scenarios.ts";

comparePlanes({ scenarios, bootstrap: scenarioBootstrap, accepted: acceptedDifferences });
