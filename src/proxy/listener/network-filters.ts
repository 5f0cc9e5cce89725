/** Filters of a chain that decide about connections, or say something of them, before its last one. */
import type { Channel } from "../../net/channel.ts";
import { Config } from "../../wire/gen/ts/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.ts";
import { RBAC } from "../../wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { honouredNetworkRbac } from "../config/honoured-extensions.ts";
import { honouredNetworkState } from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import type { ProxyContext } from "../context.ts";
import { compileStateSetter } from "../engine/filter-state.ts";
import { compileNetworkRbac, deniedDetails } from "../engine/rbac.ts";
import { accessLogHint, shadowTelling } from "../engine/rbac-telling.ts";
import { refuse } from "../engine/refusal.ts";
import type { ConnectionView } from "../engine/request.ts";
import { extensions } from "../stats/file-logger.ts";
import { TcpRecord } from "../tcp/tcp-record.ts";

/** Undefined lets the connection pass; otherwise the details of the denial. */
export type NetworkFilter = (connection: ConnectionView, channel: Channel) => string | undefined;

/** What metadata is filed under, whatever the filter is called. */
const rbacNamespace = "envoy.filters.network.rbac";

export function compileNetworkRbacFilter(
  bytes: Uint8Array,
  { metrics }: ProxyContext,
): NetworkFilter {
  const config = honoured(RBAC.decode(bytes), honouredNetworkRbac, "");
  if (config.matcher !== undefined) refuse("matcher", "is not supported");
  if (config.shadowMatcher !== undefined) refuse("shadow_matcher", "is not supported");
  const count = (name: string, help: string): (() => void) => {
    const labels = { rbac_prefix: config.statPrefix };
    const counter = metrics.counter(`envoy_tcp_rbac_${name}`, help, labels);
    return () => counter.add();
  };
  const allowed = count("allowed", "TCP connections a policy let pass");
  const denied = count("denied", "TCP connections a policy refused");
  const shadowAllowed = count("shadow_allowed", "TCP connections a rehearsed policy would pass");
  const shadowDenied = count("shadow_denied", "TCP connections a rehearsed policy would refuse");
  const rules = compileNetworkRbac(config.rules, "rules");
  const shadow = compileNetworkRbac(config.shadowRules, "shadow_rules");
  const tell = shadowTelling(config.shadowRulesStatPrefix);
  const hint = accessLogHint(config.rules);
  return (connection) => {
    const rehearsed = shadow?.evaluate(connection);
    if (rehearsed !== undefined) {
      (rehearsed.isAllowed ? shadowAllowed : shadowDenied)();
      addMetadata(connection, rbacNamespace, tell(rehearsed));
    }
    const verdict = rules?.evaluate(connection);
    if (verdict === undefined) return undefined;
    if (hint !== undefined) addMetadata(connection, hint.namespace, hint.fieldsOf(verdict));
    (verdict.isAllowed ? allowed : denied)();
    return verdict.isAllowed ? undefined : deniedDetails(verdict);
  };
}

function addMetadata(
  connection: ConnectionView,
  namespace: string,
  fields: Readonly<Record<string, unknown>>,
): void {
  const merged = { ...connection.metadata?.get(namespace), ...fields };
  connection.metadata = new Map([...(connection.metadata ?? []), [namespace, merged]]);
}

export function compileNetworkState(bytes: Uint8Array): NetworkFilter {
  const config = honoured(Config.decode(bytes), honouredNetworkState, "");
  const onNew = compileStateSetter(config.onNewConnection, "on_new_connection", extensions);
  const onSecured = compileStateSetter(
    config.onDownstreamTlsHandshake,
    "on_downstream_tls_handshake",
    extensions,
  );
  return (connection, channel) => {
    // A connection is new before its handshake: nothing is known of its peer then.
    const before = { local: channel.local, tls: undefined };
    connection.state = onNew(recordOf(before, connection), connection.state);
    // Without TLS, too, as in Envoy.
    connection.state = onSecured(recordOf(channel, connection), connection.state);
    return undefined;
  };
}

function recordOf(channel: Pick<Channel, "local" | "tls">, connection: ConnectionView): TcpRecord {
  return new TcpRecord(channel, connection, "unspecified");
}
