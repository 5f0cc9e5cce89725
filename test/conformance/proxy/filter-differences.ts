import type { AcceptedDifferences } from "./compared-planes.ts";

/** By scenario: what differs from Envoy 1.40, and why it is meant to. */
export const filterDifferences: AcceptedDifferences = {
  "changes an escaped query": {
    upstream: "parameters pass as they were written; Envoy decodes them, blanks included",
  },
  "says nothing with 204": {
    clientHeaders: "RFC 9110 section 8.6 allows no content-length with 204",
  },
};
