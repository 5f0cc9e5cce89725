/** Detectors of OpenTelemetry's resource: what names this proxy beyond its service's name. */
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import { StaticConfigResourceDetectorConfig } from "../../wire/gen/ts/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/static_config_resource_detector.ts";
import { refuse } from "../engine/refusal.ts";
import type { Environment } from "./span-tags.ts";

type Attributes = Readonly<Record<string, string>>;

const prefix = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.";
const variable = "OTEL_RESOURCE_ATTRIBUTES";

/** Attributes of all detectors; what a later one says wins, and all win over `initial`. */
export function detectResource(
  detectors: readonly TypedExtensionConfig[],
  initial: Attributes,
  {
    path,
    environment = {},
  }: { readonly path: string; readonly environment?: Environment | undefined },
): Attributes {
  const found = new Map(Object.entries(initial));
  for (const [i, detector] of detectors.entries()) {
    for (const [key, value] of attributesOf(detector, `${path}[${i}]`, environment)) {
      found.set(key, value);
    }
  }
  return Object.fromEntries(found);
}

function attributesOf(
  { name, typedConfig }: TypedExtensionConfig,
  path: string,
  environment: Environment,
): readonly (readonly [string, string])[] {
  const { typeUrl = "", value: bytes = new Uint8Array(0) } = typedConfig ?? {};
  switch (typeUrl) {
    case `${prefix}EnvironmentResourceDetectorConfig`:
      return attributesIn(environment[variable] ?? "");
    case `${prefix}StaticConfigResourceDetectorConfig`: {
      const { attributes } = StaticConfigResourceDetectorConfig.decode(bytes);
      // Empty ones are none, as in Envoy.
      return Object.entries(attributes).filter(([key, value]) => key !== "" && value !== "");
    }
    default:
      return refuse(path, `'${name || typeUrl}' is not supported`);
  }
}

/** `key=value,key=value`; what has another form is passed over, as in Envoy. */
function attributesIn(text: string): readonly (readonly [string, string])[] {
  return text.split(",").flatMap((pair) => {
    const [key, value, ...others] = pair.split("=").filter((part) => part !== "");
    return key === undefined || value === undefined || others.length > 0
      ? []
      : [[key, value] as const];
  });
}
