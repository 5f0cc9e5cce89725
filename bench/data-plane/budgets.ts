/** What Heddle's data plane may cost, as shares of Envoy's cost in the same run. */
import { median } from "../median.ts";
import type { Contestant } from "./contestants.ts";
import type { Measurement } from "./measure.ts";

export interface Budget {
  readonly what: string;
  readonly scenario: string;
  readonly own: string;
  /** The cheapest of these is what it is compared with. */
  readonly references: readonly string[];
  readonly value: (measurement: Measurement) => number;
  readonly unit: string;
  readonly shareMax: number;
  /**
   * Of nginx's cost in the same run, where another budget is a cost on a machine that is not there: what it
   * was for nginx on that machine makes it one for this.
   */
  readonly nginxShareMax?: number;
}

const cpu = ({ cpuUs }: Measurement): number => cpuUs;
const p99 = ({ delaysMs }: Measurement): number => delaysMs?.p99 ?? Number.NaN;
const pairs = ["envoy-pair-mesh", "envoy-pair-mesh-h2"];
const ones = ["envoy-mesh", "envoy-mesh-h2"];
/** Real time, of which there is as much for everyone. */
const wallUs = ({ perSecond }: Measurement): number => 1e6 / perSecond;

/** Rates are per core: 0.8 of Envoy's is 1.25 of its CPU time. */
export const budgets: readonly Budget[] = [
  {
    what: "one proxy, everything on",
    scenario: "keep-alive",
    own: "heddle-mesh-epoll",
    references: ["envoy-mesh"],
    value: cpu,
    unit: "µs/request",
    shareMax: 0.42,
  },
  {
    what: "two proxies with mutual TLS, everything on",
    scenario: "keep-alive",
    own: "heddle-pair-mesh-epoll",
    references: pairs,
    value: cpu,
    unit: "µs/request",
    shareMax: 0.5,
    // linkerd2-proxy's 70 µs, where nginx took 15.
    nginxShareMax: 70 / 15,
  },
  {
    what: "p99 at 2,000 requests/s, two proxies with mutual TLS, everything on",
    scenario: "open-loop-2000",
    own: "heddle-pair-mesh-epoll",
    references: pairs,
    value: p99,
    unit: "ms",
    shareMax: 1,
  },
  {
    what: "HTTP/2 from clients, 16 at once on a connection, everything on",
    scenario: "http2-16",
    own: "heddle-mesh-epoll",
    references: ones,
    value: cpu,
    unit: "µs/request",
    shareMax: 0.8,
  },
  {
    what: "the same with HTTP/2 to the application",
    scenario: "http2-16",
    own: "heddle-mesh-h2-epoll",
    references: ones,
    value: cpu,
    unit: "µs/request",
    shareMax: 0.8,
  },
  {
    what: "HTTP/2 from clients, one at once on a connection, everything on",
    scenario: "http2-1",
    own: "heddle-mesh-epoll",
    references: ones,
    value: cpu,
    unit: "µs/request",
    shareMax: 0.8,
  },
  ...(["http2-16", "http2-1"] as const).map((scenario): Budget => ({
    what: `two proxies with mutual TLS, everything on: ${scenario}`,
    scenario,
    own: "heddle-pair-mesh-h2-epoll",
    references: pairs,
    value: cpu,
    unit: "µs/request",
    shareMax: 0.7,
  })),
  ...(["grpc-16", "grpc-1"] as const).flatMap((scenario): readonly Budget[] => [
    {
      what: `unary gRPC, everything on: ${scenario}`,
      scenario,
      own: "heddle-mesh-grpc-epoll",
      references: ["envoy-mesh-grpc"],
      value: cpu,
      unit: "µs/request",
      shareMax: 0.8,
    },
    {
      what: `unary gRPC, two proxies with mutual TLS, everything on: ${scenario}`,
      scenario,
      own: "heddle-pair-mesh-grpc-epoll",
      references: ["envoy-pair-mesh-grpc"],
      value: cpu,
      unit: "µs/request",
      shareMax: 0.7,
    },
  ]),
  {
    what: "streams of gRPC, messages of 1 KB, everything on",
    scenario: "grpc-messages",
    own: "heddle-mesh-grpc-epoll",
    references: ["envoy-mesh-grpc"],
    value: wallUs,
    unit: "µs between messages",
    shareMax: 1,
  },
  {
    what: "new TCP connections",
    scenario: "connections",
    own: "heddle-plain-epoll",
    references: ["envoy-plain"],
    value: cpu,
    unit: "µs/connection",
    shareMax: 1.25,
  },
  {
    what: "full mutual TLS handshakes",
    scenario: "handshakes-full",
    own: "heddle-pair-epoll",
    references: ["envoy-pair"],
    value: cpu,
    unit: "µs/handshake",
    shareMax: 1.67,
  },
  {
    what: "resumed mutual TLS handshakes",
    scenario: "handshakes-resumed",
    own: "heddle-pair-epoll",
    references: ["envoy-pair"],
    value: cpu,
    unit: "µs/handshake",
    shareMax: 1.25,
  },
  {
    what: "bodies of 10 MB",
    scenario: "bodies",
    own: "heddle-plain-epoll",
    references: ["envoy-plain"],
    value: cpu,
    unit: "µs/MB",
    shareMax: 1.25,
  },
  {
    what: "TCP in bulk",
    scenario: "tcp",
    own: "heddle-tcp-epoll",
    references: ["envoy-tcp"],
    value: cpu,
    unit: "µs/MB",
    shareMax: 1.25,
  },
];

export interface Judgement {
  readonly budget: Budget;
  readonly own: number;
  readonly reference: number;
  /** By `nginxShareMax`, in the budget's unit. */
  readonly valueMax?: number;
  readonly isKept: boolean;
}

/** Undefined when one of the two was not measured. */
export function judge(
  budget: Budget,
  results: ReadonlyMap<Contestant, readonly Measurement[]>,
): Judgement | undefined {
  const values = new Map(
    [...results].map(([{ name }, measured]) => [name, median(measured.map(budget.value))]),
  );
  const own = values.get(budget.own);
  const reference = Math.min(
    ...budget.references.map((name) => values.get(name) ?? Number.POSITIVE_INFINITY),
  );
  if (own === undefined || !Number.isFinite(reference)) return undefined;
  const isShareKept = own <= budget.shareMax * reference;
  if (budget.nginxShareMax === undefined) return { budget, own, reference, isKept: isShareKept };
  const valueMax = budget.nginxShareMax * (values.get("nginx") ?? Number.NaN);
  return { budget, own, reference, valueMax, isKept: isShareKept && own <= valueMax };
}
