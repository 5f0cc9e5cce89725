/** The traffic suite with Envoy beside every workload; `traffic-heddle` runs the same with Heddle's proxy. */
import { trafficSuite } from "./traffic/suite.ts";

trafficSuite("envoy");
