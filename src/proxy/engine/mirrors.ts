/** Clusters that get a copy of each request. */
import type { RouteAction_RequestMirrorPolicy as MirrorPolicy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileHeaderEdit } from "./header-edit.ts";
import { compileMutations } from "./header-operations.ts";
import { refuse } from "./refusal.ts";
import { fractionOf } from "./route-match.ts";
import type { CompiledRoute } from "./route-table.ts";
import { lowerAscii } from "./text-test.ts";

export function compileMirrors(
  policies: readonly MirrorPolicy[],
  path: string,
): CompiledRoute["mirrors"] {
  return policies.map((policy, i) => {
    const place = `${path}[${i}]`;
    const header = lowerAscii(policy.clusterHeader);
    if (policy.cluster === "" && header === "") refuse(`${place}.cluster`, "is required");
    if (policy.cluster !== "" && header !== "") {
      refuse(`${place}.cluster_header`, "cannot stand beside cluster");
    }
    const changes = `${place}.request_headers_mutations`;
    const edit = compileHeaderEdit(compileMutations(policy.requestHeadersMutations, changes));
    const share = policy.runtimeFraction?.defaultValue;
    return {
      cluster: policy.cluster,
      ...(header === "" ? {} : { clusterHeader: header }),
      ...(edit === undefined ? {} : { edit }),
      ...(policy.traceSampled === undefined ? {} : { isSampled: policy.traceSampled }),
      fraction: share === undefined ? 1 : fractionOf(share),
      // A host of its own is not marked.
      marksHost: !policy.disableShadowHostSuffixAppend && policy.hostRewriteLiteral === "",
      host: policy.hostRewriteLiteral,
    };
  });
}
