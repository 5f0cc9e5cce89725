/** Where Heddle differs from Envoy over HTTP/2, and why. */
type Part = "answers" | "fields" | "ends" | "upstream" | "log";

const nominated = "Heddle takes a response's nominated fields away, as on HTTP/1.1";
const ascii = "a path with bytes above ASCII goes nowhere: readers differ on it";
const blanks = "RFC 9113 section 8.2.1: white space around a value makes a request malformed";
const counted = "content is counted when it comes, not when its frame is whole";

/** By scenario, or by scenario and listener. */
export const acceptedDifferences: Readonly<Record<string, { readonly [name in Part]?: string }>> = {
  "takes an answer's hop-by-hop fields away": { fields: nominated },
  "passes OPTIONS for the server": { log: "no route holds `*`, so there is none" },
  "refuses a path above ASCII": { log: ascii },
  "refuses white space around a value auto": {
    answers: blanks,
    ends: blanks,
    fields: blanks,
    log: blanks,
    upstream: blanks,
  },
  "refuses white space around a value kind": {
    answers: blanks,
    fields: blanks,
    log: blanks,
    upstream: blanks,
  },
  "refuses less content than promised": { log: counted },
};

const asItComes =
  "content passes when it comes, before the end of it shows that there is too little";

/** By client and scenario: which parts of the outcome differ, towards endpoints. */
export const acceptedUpstreamDifferences: Readonly<
  Record<string, { readonly [name in "answer" | "seen" | "log"]?: string }>
> = {
  "http1: passes HEAD of nothing": {
    answer: "an answer to HEAD does not say how a body would have been framed",
  },
  "http1: refuses less content than promised": { answer: asItComes, log: asItComes },
  "http2: refuses less content than promised": { answer: asItComes, log: asItComes },
};
