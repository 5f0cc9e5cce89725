/**
 * Samplers of OpenTelemetry: of the requests that the connection manager's shares let be traced they
 * choose, whatever the caller has decided, unless they are made to heed it. Those that ask somebody else (Dynatrace's) or evaluate expressions are refused.
 */
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import { ParentBasedSamplerConfig } from "../../wire/gen/ts/envoy/extensions/tracers/opentelemetry/samplers/v3/parent_based_sampler.ts";
import { TraceIdRatioBasedSamplerConfig } from "../../wire/gen/ts/envoy/extensions/tracers/opentelemetry/samplers/v3/trace_id_ratio_based_sampler.ts";
import {
  type FractionalPercent,
  FractionalPercent_DenominatorType as DenominatorType,
} from "../../wire/gen/ts/envoy/type/v3/percent.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";

/** `parentSampled`: what the caller has decided; undefined where nobody has. */
export type TraceSampler = (traceId: string, parentSampled: boolean | undefined) => boolean;

const prefix = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.";
/** Of samplers around samplers. */
const depthMax = 8;

/** Throws a refusal; undefined where none is configured. */
export function compileSampler(
  sampler: TypedExtensionConfig | undefined,
  path: string,
  depth = 0,
): TraceSampler | undefined {
  if (sampler === undefined) return undefined;
  if (depth > depthMax) return refuse(path, "stands inside too many others");
  const { typeUrl = "", value = new Uint8Array(0) } = sampler.typedConfig ?? {};
  switch (typeUrl) {
    case `${prefix}AlwaysOnSamplerConfig`:
      return () => true;
    case `${prefix}TraceIdRatioBasedSamplerConfig`:
      return byTraceId(TraceIdRatioBasedSamplerConfig.decode(value), `${path}.typed_config`);
    case `${prefix}ParentBasedSamplerConfig`: {
      const at = `${path}.typed_config.wrapped_sampler`;
      const { wrappedSampler } = ParentBasedSamplerConfig.decode(value);
      const root = compileSampler(wrappedSampler, at, depth + 1) ?? refuse(at, "is required");
      return (traceId, parentSampled) => parentSampled ?? root(traceId, undefined);
    }
    default:
      return refuse(path, `'${sampler.name || typeUrl}' is not supported`);
  }
}

function byTraceId(config: TraceIdRatioBasedSamplerConfig, path: string): TraceSampler {
  const { samplingPercentage } = honoured(config, { samplingPercentage: true }, path);
  const { numerator, denominator } = shareOf(samplingPercentage, `${path}.sampling_percentage`);
  return (traceId) => drawnBy(traceId, denominator) < numerator;
}

function shareOf(
  percent: FractionalPercent | undefined,
  path: string,
): { readonly numerator: number; readonly denominator: number } {
  const { numerator = 0, denominator = DenominatorType.HUNDRED } = percent ?? {};
  const count = denominators[denominator];
  if (count === undefined) return refuse(path, "has an unknown denominator");
  return { numerator, denominator: count };
}

const denominators: { readonly [type: number]: number } = {
  [DenominatorType.HUNDRED]: 100,
  [DenominatorType.TEN_THOUSAND]: 10_000,
  [DenominatorType.MILLION]: 1_000_000,
};

/**
 * The rest of the id's first eight bytes, read as Envoy reads them: the last one counts most. All
 * proxies of a trace draw alike, Envoys among them.
 */
function drawnBy(traceId: string, denominator: number): number {
  let rest = 0;
  for (let at = 14; at >= 0; at -= 2) {
    rest = (rest * 256 + Number.parseInt(traceId.slice(at, at + 2), 16)) % denominator;
  }
  return rest;
}
