/** Where an application exposes metrics of its own, as heddle.yaml and Compose labels say it. */
import type { MetricsSpec } from "../mesh-file.ts";
import type { FieldReader } from "./reader.ts";

const pathDefault = "/metrics";
/** What may stand in a request line unescaped. */
const pathPattern = /^\/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$/;

/** `metrics: { port: 9100, path: /metrics }`. */
export function readMetrics(reader: FieldReader): MetricsSpec | undefined {
  const metrics = reader.mapping("metrics");
  if (metrics === undefined) return undefined;
  const port = metrics.integer("port", 1, 65_535);
  const path = metrics.string("path") ?? pathDefault;
  if (port === undefined) metrics.refuse("port", "heddle-file.required", "port must be given");
  if (!pathPattern.test(path)) {
    metrics.refuse(
      "path",
      "heddle-file.type",
      `${JSON.stringify(path)} is not a path`,
      pathDefault,
    );
  }
  metrics.finish();
  return port === undefined ? undefined : { port, path };
}

/** `9100` or `9100/metrics`. */
export function readMetricsLabel(
  reader: FieldReader,
  text: string | undefined,
): MetricsSpec | undefined {
  if (text === undefined) return undefined;
  const [, port = "", path = pathDefault] = /^(\d{1,5})(\/.*)?$/.exec(text.trim()) ?? [];
  const number = Number(port);
  if (number >= 1 && number <= 65_535 && pathPattern.test(path)) return { port: number, path };
  reader.refuse("labels", "heddle-file.type", `heddle.metrics: ${text} is not PORT/PATH`);
  return undefined;
}
