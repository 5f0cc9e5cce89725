import type { AcceptedDifferences } from "./compared-planes.ts";

const again =
  "a GET that was reset on a used connection before any answer is sent once more: idle closes race with pools";
const unasked = "a 101 that nobody asked for would take the connection out of step";
const asCame = "the log has the path as it came, not as it was half normalised";

/** By scenario: what differs from Envoy 1.40, and why it is meant to. */
export const acceptedDifferences: AcceptedDifferences = {
  "passes an unknown status": {
    statusLine: "the upstream's reason phrase passes; Envoy writes its own",
  },
  "takes nominated and hop-by-hop fields away": {
    upstream: "TE is between neighbours, and this one asks its upstream for no trailers",
  },
  "says UC when the upstream closes": {
    upstream: again,
    log: again,
  },
  "retries resets": { upstream: again, log: again },
  "says UPE to an upgrade that nobody asked for": {
    statusLine: unasked,
    clientHeaders: unasked,
    body: unasked,
    log: unasked,
  },
  "goes on with a trace": {
    upstream: "a caller that speaks B3 is answered in B3; Envoy's tracer knows traceparent alone",
  },
  "refuses an escaped slash": { log: asCame },
  "redirects an escaped slash at the edge": { log: asCame },
};
