/** HTTP filters beside Envoy's: what they do to requests and answers. */
import { comparePlanes } from "./compared-planes.ts";
import { filterBootstrap } from "./filter-bootstrap.ts";
import { filterDifferences } from "./filter-differences.ts";
import { filterScenarios } from "./filter-scenarios.ts";

comparePlanes({
  scenarios: filterScenarios,
  bootstrap: filterBootstrap,
  accepted: filterDifferences,
});
