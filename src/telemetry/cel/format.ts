/** Times of CEL as Envoy prints them: `1h30m0.25s`, `12.5ms`, `2023-08-26T19:39:00.5+00:00`. */

export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  const sign = ms < 0 ? "-" : "";
  const size = Math.abs(ms);
  if (size < 1) {
    return `${sign}${size < 0.001 ? `${rounded(size * 1e6)}ns` : `${rounded(size * 1000)}us`}`;
  }
  if (size < 1000) return `${sign}${rounded(size)}ms`;
  const hours = Math.floor(size / 3_600_000);
  const minutes = Math.floor(size / 60_000) % 60;
  const seconds = rounded((size % 60_000) / 1000);
  const parts = [hours > 0 ? `${hours}h` : "", minutes > 0 ? `${minutes}m` : ""];
  return `${sign}${parts.join("")}${seconds > 0 ? `${seconds}s` : ""}`;
}

/** To the nanosecond, so that what a sum of floats is off by does not show. */
function rounded(value: number): number {
  return Number(value.toFixed(6));
}

export function formatTimestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0*Z$/, "+00:00");
}

/** As protobuf's JSON has it: `1.500s`, with no, three, six or nine digits of a second's parts. */
export function jsonDuration(ms: number): string {
  const nanos = Math.round(Math.abs(ms) * 1e6);
  const parts = String(nanos % 1e9)
    .padStart(9, "0")
    .replace(/(?:000)+$/, "");
  const seconds = Math.floor(nanos / 1e9);
  return `${ms < 0 ? "-" : ""}${seconds}${parts === "" ? "" : `.${parts}`}s`;
}

export function jsonTimestamp(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
