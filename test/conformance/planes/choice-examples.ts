/** Examples (`field-examples.ts`) of where connections go, and when. */
import type { FieldExample } from "./field-examples.ts";

const random = "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random";
const typedExtensionConfig = { name: "x", typedConfig: { "@type": random } };

export const choiceExamples: readonly FieldExample[] = [
  [
    "load_balancing_policies.maglev.v3.Maglev",
    { consistentHashingLbConfig: { hashBalanceFactor: 120 } },
  ],
  [
    "load_balancing_policies.override_host.v3.OverrideHost",
    {
      overrideHostSources: [{ metadata: { key: "picker", path: [{ key: "host" }] } }],
      selectedHostKey: { key: "picked", path: [{ key: "host" }] },
      fallbackPolicy: { policies: [{ typedExtensionConfig }] },
    },
  ],
  [
    "filters.network.tcp_proxy.v3.TcpProxy",
    { cluster: "app", upstreamConnectMode: "ON_DOWNSTREAM_DATA", maxEarlyDataBytes: 1024 },
  ],
];
