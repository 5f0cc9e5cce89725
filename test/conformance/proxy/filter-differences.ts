import type { AcceptedDifferences } from "./compared-planes.ts";

/** By scenario: what differs from Envoy 1.40, and why it is meant to. */
export const filterDifferences: AcceptedDifferences = {};
