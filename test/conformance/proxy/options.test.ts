/** What routes, routers and connection managers may say, beside Envoy. */
import { type AcceptedDifferences, comparePlanes } from "./compared-planes.ts";
import { optionBootstrap } from "./option-bootstrap.ts";
import { optionScenarios } from "./option-scenarios.ts";

const closes = "no connection goes on after a request that does not say for which host it is";

const accepted: AcceptedDifferences = {
  "goes on after a request without a host": {
    clientHeaders: closes,
    body: closes,
    closed: closes,
    upstream: closes,
    log: closes,
  },
};

comparePlanes({ scenarios: optionScenarios, bootstrap: optionBootstrap, accepted });
