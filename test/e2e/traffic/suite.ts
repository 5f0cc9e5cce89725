/** One mesh for each mode, and everything that traffic must do in it. */
import { after, before, describe } from "node:test";

import { meshModes } from "../support/mesh.ts";
import { startTraffic, type Traffic } from "../support/traffic.ts";
import { agreementTests } from "./agreement.ts";
import { balancingTests } from "./balancing.ts";
import { gatewayTests } from "./gateway.ts";
import { http1Tests } from "./http1.ts";
import { linkTests } from "./links.ts";
import { logTests } from "./logs.ts";
import { nameTests } from "./names.ts";
import { outsideTests } from "./outside.ts";
import { streamTests } from "./streams.ts";

export function trafficSuite(dataPlane: "heddle" | "envoy"): void {
  for (const mode of meshModes) {
    describe(`traffic, ${mode}, ${dataPlane}`, () => {
      let traffic: Traffic | undefined;
      before(async () => {
        traffic = await startTraffic({ mode, dataPlane });
      });
      after(async () => {
        await traffic?.stop();
      });
      const running = (): Traffic => {
        if (traffic === undefined) throw new Error("the mesh did not start");
        return traffic;
      };
      agreementTests(running);
      balancingTests(running);
      http1Tests(running);
      streamTests(running);
      gatewayTests(running);
      nameTests(running);
      outsideTests(running);
      logTests(running);
      // Last: it looks at all that the others have sent.
      if (mode !== "explicit") linkTests(running);
    });
  }
}
