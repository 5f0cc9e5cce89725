/** How requests go to a cluster's endpoints: which protocol, and the bounds of HTTP/2. */
import type { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type {
  Http2ProtocolOptions,
  HttpProtocolOptions as CommonHttp,
} from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import type { HttpProtocolOptions } from "../../wire/gen/ts/envoy/extensions/upstreams/http/v3/http_protocol_options.ts";
import { type HeadLimits, defaultHeadLimits } from "../../wire/http1-head.ts";
import type { UpstreamHttp2 } from "../context.ts";
import { compileHttp1, type Http1Plan } from "../http/http1-plan.ts";
import { refuse } from "../engine/refusal.ts";
import { compileHttp2Settings, type Http2ServerSettings } from "../http2/settings.ts";

export type Http2Plan = Pick<UpstreamHttp2, "when" | "settings">;

/** Undefined where HTTP/1.1 alone is spoken. */
export function compileUpstreamHttp2(
  { http2ProtocolOptions: legacy }: Cluster,
  options: HttpProtocolOptions | undefined,
  sockets: readonly { readonly tls: unknown }[],
): Http2Plan | undefined {
  if (options === undefined) {
    return legacy === undefined ? undefined : { when: "always", settings: settingsOf(legacy) };
  }
  const { explicitHttpConfig: explicit, useDownstreamProtocolConfig: asClient } = options;
  if (options.autoConfig !== undefined) {
    if (sockets.some(({ tls }) => tls === undefined)) {
      const path = "typed_extension_protocol_options";
      refuse(
        `${path}.auto_config`,
        "needs TLS on every connection: without it nothing is agreed on",
      );
    }
    return { when: "agreed", settings: settingsOf(options.autoConfig.http2ProtocolOptions) };
  }
  if (explicit?.http2ProtocolOptions !== undefined) {
    return { when: "always", settings: settingsOf(explicit.http2ProtocolOptions) };
  }
  if (asClient?.http2ProtocolOptions !== undefined) {
    return { when: "downstream", settings: settingsOf(asClient.http2ProtocolOptions) };
  }
  return undefined;
}

export function compileUpstreamHttp1(
  options: HttpProtocolOptions | undefined,
): Http1Plan | undefined {
  const path = "typed_extension_protocol_options";
  const explicit = options?.explicitHttpConfig?.httpProtocolOptions;
  const asClient = options?.useDownstreamProtocolConfig?.httpProtocolOptions;
  return compileHttp1(explicit ?? asClient ?? options?.autoConfig?.httpProtocolOptions, path);
}

/** In KiB, of what is kept of a head. */
const headKbMost = 8192;

/** Of answers; Envoy's where configuration says nothing. */
export function compileHeadLimits(
  common: Pick<CommonHttp, "maxHeadersCount" | "maxResponseHeadersKb"> | undefined,
): HeadLimits {
  const path = "common_http_protocol_options";
  const { headBytesMax, fieldsMax } = defaultHeadLimits;
  const { maxHeadersCount = fieldsMax, maxResponseHeadersKb = headBytesMax / 1024 } = common ?? {};
  if (maxHeadersCount < 1) refuse(`${path}.max_headers_count`, "must be greater than 0");
  if (maxResponseHeadersKb < 1 || maxResponseHeadersKb > headKbMost) {
    refuse(`${path}.max_response_headers_kb`, `must be between 1 and ${headKbMost}`);
  }
  return { headBytesMax: maxResponseHeadersKb * 1024, fieldsMax: maxHeadersCount };
}

/** What is spoken, to answers with such heads. */
export function withHeads(http2: Http2Plan | undefined, limits: HeadLimits): Http2Plan | undefined {
  return http2 && { ...http2, settings: { ...http2.settings, limits } };
}

const limits: HeadLimits = defaultHeadLimits;

function settingsOf(options: Http2ProtocolOptions | undefined): Http2ServerSettings {
  const settings = compileHttp2Settings(options, { limits, resetsMalformed: false, drainMs: 0 });
  // An endpoint that resets much costs its clients no more than one that answers much.
  const floods = { ...settings.floods, resetsMax: Number.POSITIVE_INFINITY };
  return { ...settings, floods };
}
