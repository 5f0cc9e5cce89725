/** What became of an answer of the control plane, counted and logged. */
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";

export interface AnswerOutcome {
  readonly typeUrl: string;
  /** `name: reason` */
  readonly refusals: readonly string[];
  readonly unknownFields: number;
}

export function countAnswer(
  { metrics, log }: { readonly metrics: MetricRegistry; readonly log: Logger },
  { typeUrl, refusals, unknownFields }: AnswerOutcome,
): void {
  const type = typeUrl.split(".").at(-1) ?? typeUrl;
  const updates = metrics.counter("heddle_xds_updates_total", "xDS answers by outcome", {
    type,
    outcome: refusals.length === 0 ? "accepted" : "refused",
  });
  updates.add(1);
  if (unknownFields > 0) {
    const fields = metrics.counter(
      "heddle_xds_unknown_fields_total",
      "Fields of xDS resources that the schema does not know",
      { type },
    );
    fields.add(unknownFields);
  }
  for (const refusal of refusals) log.warn("xDS resource refused", { type, refusal });
}
