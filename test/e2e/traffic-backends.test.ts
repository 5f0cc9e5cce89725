/**
 * The traffic suite with what sidecars do not do by default: Node's own sockets, as where epoll does not
 * work, and two data workers. One mode is enough for each; conformance tests run all of them.
 */
import { meshModes } from "./support/mesh.ts";
import { trafficSuite } from "./traffic/suite.ts";

const modes = meshModes.slice(0, 1);
trafficSuite("heddle", modes, { io: "portable" });
trafficSuite("heddle", modes, { workers: 2 });
