/** The traffic suite with Heddle's own proxy; `traffic-envoy` runs the same with Envoy. */
import { trafficSuite } from "./traffic/suite.ts";

trafficSuite("heddle");
