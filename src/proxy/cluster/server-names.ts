/**
 * Endpoints as requests name them (`auto_sni`, `auto_san_validation`): the server is asked for by the
 * host of the request, or must prove to be it. Connections made for one name serve no other.
 */
import type { ClientTls } from "../../net/dialler.ts";
import { withServerName } from "../../net/tls-contexts.ts";
import type { UpstreamHttpProtocolOptions } from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import type { UpstreamEndpoint } from "../context.ts";
import { parseIp } from "../engine/ip.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { DerivedEndpoints } from "./derived-endpoints.ts";

export interface ServerNamesPlan {
  readonly asksFor: boolean;
  readonly expects: boolean;
  /** A header whose value counts instead of the host, where it is there; empty: none. */
  readonly header: string;
}

export function compileServerNames(
  options: UpstreamHttpProtocolOptions | undefined,
): ServerNamesPlan | undefined {
  const { autoSni = false, autoSanValidation = false, overrideAutoSniHeader = "" } = options ?? {};
  if (!autoSni && !autoSanValidation) return undefined;
  return {
    asksFor: autoSni,
    expects: autoSanValidation,
    header: lowerAscii(overrideAutoSniHeader),
  };
}

/** `authority` is the request's, as it will be sent. */
export function namedEndpoint(
  { asksFor, expects }: ServerNamesPlan,
  derived: DerivedEndpoints,
  endpoint: UpstreamEndpoint & { readonly tls: ClientTls },
  authority: string,
): UpstreamEndpoint {
  const host = hostOf(authority);
  const key = lowerAscii(host);
  const known = derived.find(endpoint, key);
  if (known !== undefined) return known;
  const tls = withServerName(endpoint.tls, {
    // An IP address is no server name (RFC 6066 §3).
    sni: asksFor && parseIp(host) === undefined ? host : undefined,
    expected: expects ? host : undefined,
  });
  return derived.add(endpoint, key, { tls });
}

/** Without the port, and an address without its brackets. */
function hostOf(authority: string): string {
  const [, literal, name = ""] = /^(?:\[([^\]]*)\]|([^:]*))/.exec(authority) ?? [];
  return literal ?? name;
}

/** It has a name to be asked for by. */
export function speaksTls(
  endpoint: UpstreamEndpoint,
): endpoint is UpstreamEndpoint & { readonly tls: ClientTls } {
  return endpoint.tls !== undefined;
}
