/** Fields that are accepted although nobody reads them, and why that is what they say. */
const byReason: Readonly<Record<string, readonly string[]>> = {
  "there is no runtime: the default that stands beside the key holds": [
    "envoy.config.core.v3.RuntimeDouble runtime_key",
    "envoy.config.core.v3.RuntimeFeatureFlag runtime_key",
    "envoy.config.core.v3.RuntimeFractionalPercent runtime_key",
    "envoy.config.core.v3.RuntimeUInt32 runtime_key",
    "envoy.config.route.v3.WeightedCluster runtime_key_prefix",
    ...["abort_grpc_status", "abort_http_status", "abort_percent", "delay_duration"].map(fault),
    ...["delay_percent", "max_active_faults", "response_rate_limit_percent"].map(fault),
  ],
  "its table refuses what is not done, and the rest is done anyway": [
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig eds_config",
    "envoy.config.listener.v3.Listener connection_balance_config",
    "envoy.config.listener.v3.Listener.ConnectionBalanceConfig exact_balance",
    "envoy.config.listener.v3.Listener udp_listener_config",
  ],
  "how Envoy works inside, not what it does": [
    "envoy.config.core.v3.Http1ProtocolOptions use_balsa_parser",
    "envoy.config.core.v3.Http2ProtocolOptions use_oghttp2_codec",
    "envoy.config.listener.v3.Listener enable_reuse_port",
    "envoy.config.listener.v3.Listener reuse_port",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector initial_read_buffer_size",
  ],
  "says which library matches, and there is one": ["envoy.type.matcher.v3.RegexMatcher google_re2"],
  "bounds what is bounded here in another way": [
    "envoy.config.core.v3.GrpcService.EnvoyGrpc max_receive_message_length",
    "envoy.extensions.access_loggers.stats.v3.Config stats_scope",
    "envoy.type.v3.Scope enable_eviction",
    "envoy.type.v3.Scope max_counters",
    "envoy.type.v3.Scope max_gauges",
    "envoy.type.v3.Scope max_histograms",
  ],
  "changes which series there are, of which we have all or none": [
    "envoy.extensions.filters.http.fault.v3.HTTPFault disable_downstream_cluster_stats",
    "envoy.extensions.filters.http.router.v3.Router dynamic_stats",
  ],
  "is done always": [
    "envoy.config.core.v3.GrpcService.EnvoyGrpc skip_envoy_headers",
    "envoy.config.core.v3.JsonFormatOptions sort_properties",
    "envoy.config.core.v3.SubstitutionFormatString json_format_options",
  ],
  "allows what comes to nothing here": [
    "envoy.config.cluster.v3.Cluster.CommonLbConfig update_merge_window",
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig allow_insecure_cluster_options",
    "envoy.extensions.filters.network.rbac.v3.RBAC enforcement_type",
  ],
  "names, for whoever reads the configuration": [
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload category",
  ],
  "deprecated: the weights are added up": ["envoy.config.route.v3.WeightedCluster total_weight"],
};

function fault(what: string): string {
  return `envoy.extensions.filters.http.fault.v3.HTTPFault ${what}_runtime`;
}

export const unreadFields: ReadonlyMap<string, string> = new Map(
  Object.entries(byReason).flatMap(([reason, keys]) =>
    keys.map((key): [string, string] => [key, reason]),
  ),
);
