/**
 * Endpoints as requests name them (`auto_sni`, `auto_san_validation`): the server is asked for by the
 * host of the request, or must prove to be it. Connections made for one name serve no other.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import { withServerName } from "../../net/tls-contexts.ts";
import type { UpstreamHttpProtocolOptions } from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import { parseIp } from "../engine/ip.ts";
import { lowerAscii } from "../engine/text-test.ts";

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

/** Names that connections to one endpoint are kept for; the one used longest ago goes first. */
const namesMax = 256;

export class ServerNames {
  readonly #plan: ServerNamesPlan;
  readonly #onDropped: () => void;
  readonly #byEndpoint = new WeakMap<UpstreamEndpoint, Map<string, NamedEndpoint>>();

  constructor(plan: ServerNamesPlan, onDropped: () => void) {
    this.#plan = plan;
    this.#onDropped = onDropped;
  }

  get header(): string {
    return this.#plan.header;
  }

  /** `authority` is the request's, as it will be sent. */
  of(endpoint: UpstreamEndpoint, tls: ClientTls, authority: string): UpstreamEndpoint {
    const host = hostOf(authority);
    let named = this.#byEndpoint.get(endpoint);
    if (named === undefined) this.#byEndpoint.set(endpoint, (named = new Map()));
    const key = lowerAscii(host);
    const known = named.get(key);
    if (known !== undefined) {
      if (named.size < namesMax) return known;
      named.delete(key);
      named.set(key, known);
      return known;
    }
    const { asksFor, expects } = this.#plan;
    const made = new NamedEndpoint(
      endpoint,
      withServerName(tls, {
        // An IP address is no server name (RFC 6066 §3).
        sni: asksFor && parseIp(host) === undefined ? host : undefined,
        expected: expects ? host : undefined,
      }),
    );
    named.set(key, made);
    const [oldest] = named;
    if (named.size > namesMax && oldest !== undefined) {
      named.delete(oldest[0]);
      oldest[1].remove();
      this.#onDropped();
    }
    return made;
  }

  /** The endpoint goes, or its connections are to be replaced: so do those of its names. */
  forget(endpoint: UpstreamEndpoint, how: "remove" | "drain"): void {
    for (const named of this.#byEndpoint.get(endpoint)?.values() ?? []) named[how]();
  }
}

/** Without the port, and an address without its brackets. */
function hostOf(authority: string): string {
  const [, literal, name = ""] = /^(?:\[([^\]]*)\]|([^:]*))/.exec(authority) ?? [];
  return literal ?? name;
}

class NamedEndpoint implements UpstreamEndpoint {
  readonly origin: UpstreamEndpoint;
  readonly tls: ClientTls;
  onRemoved: (() => void) | undefined;
  onDrained: (() => void) | undefined;
  #isDropped = false;

  constructor(origin: UpstreamEndpoint, tls: ClientTls) {
    this.origin = origin;
    this.tls = tls;
  }

  get address(): SocketAddress {
    return this.origin.address;
  }
  get hostname(): string {
    return this.origin.hostname;
  }
  get metadata(): UpstreamEndpoint["metadata"] {
    return this.origin.metadata;
  }
  get sourceAddress(): string | undefined {
    return this.origin.sourceAddress;
  }
  get internal(): UpstreamEndpoint["internal"] {
    return this.origin.internal;
  }
  get active(): number {
    return this.origin.active;
  }
  set active(count: number) {
    this.origin.active = count;
  }
  get connections(): number {
    return this.origin.connections ?? 0;
  }
  set connections(count: number) {
    this.origin.connections = count;
  }
  get priority(): number {
    return this.origin.priority ?? 0;
  }
  get isRemoved(): boolean {
    return this.#isDropped || this.origin.isRemoved === true;
  }
  get suspect(): (() => void) | undefined {
    return this.origin.suspect;
  }

  report(outcome: UpstreamOutcome): void {
    this.origin.report(outcome);
  }

  remove(): void {
    this.#isDropped = true;
    this.onRemoved?.();
  }

  drain(): void {
    this.onDrained?.();
  }
}
