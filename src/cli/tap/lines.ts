/** Requests that `heddle tap` shows, as lines for people. */

/** What a sidecar tells of a request (`src/proxy/stats/decision.ts`), as far as lines show it. */
export interface TappedRequest {
  readonly time: string;
  readonly direction: string;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly status: number;
  readonly flags: string;
  readonly details: string;
  readonly policy?: string;
  readonly cluster: string;
  readonly endpoint?: string;
  readonly attempts: number;
  readonly durationMs: number;
  readonly overheadMs: number;
  readonly phases: Readonly<Record<string, number>>;
}

const arrows: Readonly<Record<string, string>> = { inbound: "in ", outbound: "out" };

/** `12:00:00.123  out GET cart/items 503 UF,URX 31.2 ms (pool 1.0, first_byte 30.1) → 198.18.0.7:80`. */
export function tapLine(request: TappedRequest): string {
  const { time, method, authority, path, status, endpoint, cluster } = request;
  const parts = [
    time.slice(11, 23),
    arrows[request.direction] ?? "-  ",
    method,
    `${printable(authority)}${printable(path)}`,
    status === 0 ? "no answer" : String(status),
    ...(request.flags === "" ? [] : [request.flags]),
    `${request.durationMs.toFixed(1)} ms${whereTo(request)}`,
    `→ ${endpoint ?? (cluster === "" ? "nowhere" : cluster)}`,
  ];
  if (request.attempts > 1) parts.push(`${request.attempts} attempts`);
  if (request.policy !== undefined) parts.push(`policy ${printable(request.policy)}`);
  else if (request.details !== "via_upstream") parts.push(printable(request.details));
  return parts.join("  ");
}

/** Phases of at least a tenth of a millisecond, and the proxy's own share. */
function whereTo({ phases, overheadMs }: TappedRequest): string {
  const parts = Object.entries(phases)
    .filter(([, ms]) => ms >= 0.1)
    .map(([phase, ms]) => `${phase} ${ms.toFixed(1)}`);
  return ` (${[...parts, `proxy ${overheadMs.toFixed(2)}`].join(", ")})`;
}

/** A path comes from a client; a terminal obeys what it is sent. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}
