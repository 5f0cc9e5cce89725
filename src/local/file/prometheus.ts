import type { FieldReader } from "./reader.ts";

const hint = "the address before /api/v1, without a user or a query: http://prometheus:9090";

/** `metrics: { prometheus: URL }`: whom the console asks instead of the embedded store. */
export function readPrometheus(reader: FieldReader): string | undefined {
  const metrics = reader.mapping("metrics");
  const text = metrics?.string("prometheus");
  metrics?.finish();
  if (metrics === undefined || text === undefined) return undefined;
  const url = URL.parse(text);
  const isUsable = url !== null && /^https?:$/.test(url.protocol) && url.search === "";
  if (isUsable && url.username === "" && url.hash === "") return text;
  metrics.refuse("prometheus", "heddle-file.type", `${text} is not Prometheus's URL`, hint);
  return undefined;
}
