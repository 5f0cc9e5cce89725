/** Clusters that get a copy of each request. */
import type { RouteAction_RequestMirrorPolicy as MirrorPolicy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { refuse } from "./refusal.ts";
import { fractionOf } from "./route-match.ts";
import type { CompiledRoute } from "./route-table.ts";

export function compileMirrors(
  policies: readonly MirrorPolicy[],
  path: string,
): CompiledRoute["mirrors"] {
  return policies.map((policy, i) => {
    const place = `${path}[${i}]`;
    if (policy.cluster === "") refuse(`${place}.cluster`, "is required");
    const share = policy.runtimeFraction?.defaultValue;
    return {
      cluster: policy.cluster,
      fraction: share === undefined ? 1 : fractionOf(share),
      marksHost: !policy.disableShadowHostSuffixAppend,
      host: policy.hostRewriteLiteral,
    };
  });
}
