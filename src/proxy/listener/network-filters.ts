/** Filters of a chain that decide about connections, or say something of them, before its last one. */
import type { Channel } from "../../net/channel.ts";
import { Config } from "../../wire/gen/ts/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.ts";
import { RBAC } from "../../wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { honouredNetworkRbac } from "../config/honoured-extensions.ts";
import { honouredNetworkState } from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import type { ProxyContext } from "../context.ts";
import { durationMs } from "../engine/duration.ts";
import { compileStateSetter } from "../engine/filter-state.ts";
import { compileNetworkMatcherRbac } from "../engine/rbac-matcher.ts";
import { compileNetworkRbac, deniedDetails } from "../engine/rbac.ts";
import {
  accessLogHint,
  logHintNamespace,
  matcherLogHint,
  shadowTelling,
} from "../engine/rbac-telling.ts";
import type { ConnectionView } from "../engine/request.ts";
import { extensions } from "../stats/file-logger.ts";
import { TcpRecord } from "../tcp/tcp-record.ts";

export interface Denial {
  readonly details: string;
  /** The connection is closed so much later. */
  readonly delayMs: number;
}

/** Undefined lets the connection pass. */
export type NetworkFilter = (connection: ConnectionView, channel: Channel) => Denial | undefined;

/** What metadata is filed under, whatever the filter is called. */
const rbacNamespace = "envoy.filters.network.rbac";

const rehearsedPass = "TCP connections a rehearsed policy would pass";
const rehearsedRefusal = "TCP connections a rehearsed policy would refuse";

/** The prefix is a label, as Envoy's own tags make it; Istio's tags leave its `tcp.` in the name. */
function rbacSeries(prefix: string): {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
} {
  const plain = prefix.replace(/\.$/, "");
  if (plain === "tcp") return { name: "envoy_tcp_rbac", labels: {} };
  return { name: "envoy_rbac", labels: { rbac_prefix: plain } };
}

/** It stands in the name, as in Envoy. */
function shadowPart(prefix: string): string {
  return prefix === "" ? "" : `${prefix.replace(/\.$/, "").replaceAll(/\W/g, "_")}_`;
}

export function compileNetworkRbacFilter(
  bytes: Uint8Array,
  { metrics }: ProxyContext,
): NetworkFilter {
  const config = honoured(RBAC.decode(bytes), honouredNetworkRbac, "");
  const { name: family, labels } = rbacSeries(config.statPrefix);
  const count = (name: string, help: string): (() => void) => {
    const counter = metrics.counter(`${family}_${name}`, help, labels);
    return () => counter.add();
  };
  const rehearsal = shadowPart(config.shadowRulesStatPrefix);
  const allowed = count("allowed", "TCP connections a policy let pass");
  const denied = count("denied", "TCP connections a policy refused");
  const shadowAllowed = count(`${rehearsal}shadow_allowed`, rehearsedPass);
  const shadowDenied = count(`${rehearsal}shadow_denied`, rehearsedRefusal);
  const { matcher, shadowMatcher } = config;
  const delayMs = durationMs(config.delayDeny) ?? 0;
  const tree = matcher && compileNetworkMatcherRbac(matcher, "matcher");
  const shadowTree = shadowMatcher && compileNetworkMatcherRbac(shadowMatcher, "shadow_matcher");
  // Rules beside a matcher mean nothing, as in Envoy.
  const ofRules = compileNetworkRbac(config.rules, "rules");
  const rules = tree ?? ofRules;
  const ofShadowRules = compileNetworkRbac(config.shadowRules, "shadow_rules");
  const shadow = shadowTree ?? ofShadowRules;
  const tell = shadowTelling(config.shadowRulesStatPrefix);
  const treeHint = tree?.logs === true ? matcherLogHint : undefined;
  const hint = tree === undefined ? accessLogHint(config.rules) : treeHint;
  return (connection, channel) => {
    const record = (): TcpRecord => recordOf(channel, connection);
    const rehearsed = shadow?.evaluate(connection, record);
    if (rehearsed !== undefined) {
      (rehearsed.isAllowed ? shadowAllowed : shadowDenied)();
      addMetadata(connection, rbacNamespace, tell(rehearsed));
    }
    const verdict = rules?.evaluate(connection, record);
    if (verdict === undefined) return undefined;
    const hinted = hint?.fieldsOf(verdict);
    if (hinted !== undefined) addMetadata(connection, logHintNamespace, hinted);
    (verdict.isAllowed ? allowed : denied)();
    return verdict.isAllowed ? undefined : { details: deniedDetails(verdict), delayMs };
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
