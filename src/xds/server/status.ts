import type { Clock } from "../../base/clock.ts";
import type { ProxyAnswer } from "../ads-server.ts";
import { type EncodedResource, type ResourceSet, resourcesOf, type Snapshot } from "../snapshot.ts";
import type { ServerConnection } from "./connection.ts";
import type { Outgoing, XdsVariant } from "./publisher.ts";

/** What a server knows of one proxy; also of one that is gone for now. */
export interface ServedProxy {
  readonly connection:
    | {
        readonly kind: "connected";
        readonly sinceMs: number;
        readonly address: string;
        readonly variant: XdsVariant;
      }
    | { readonly kind: "disconnected"; readonly sinceMs: number; readonly reason: string }
    | { readonly kind: "never" };
  readonly types: readonly ServedType[];
}

export interface ServedType {
  readonly typeUrl: string;
  /** Resources in the proxy's snapshot. */
  readonly resources: number;
  readonly isSettled: boolean;
  readonly sent: Moment | undefined;
  readonly acked: Moment | undefined;
  /** What the proxy refused of what it should have; gone when that changes. */
  readonly refusal: Refusal | undefined;
}

export interface Refusal extends Moment {
  /** Those the proxy's reason names; empty when it does not tell. */
  readonly resources: readonly EncodedResource[];
  readonly reason: string;
}

export interface Moment {
  readonly version: string;
  readonly atMs: number;
}

interface TypeRecord {
  sent: Moment | undefined;
  acked: Moment | undefined;
  refusal: Refusal | undefined;
}

interface ProxyRecord {
  readonly types: Map<string, TypeRecord>;
  lost: { readonly atMs: number; readonly reason: string } | undefined;
}

/** Remembers what each proxy was sent and what it said, over its streams. */
export class StatusBoard {
  readonly #clock: Clock;
  readonly #proxies = new Map<string, ProxyRecord>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  connected(proxyId: string): void {
    this.#proxy(proxyId).lost = undefined;
  }

  disconnected(proxyId: string, reason: string | undefined): void {
    const record = this.#proxies.get(proxyId);
    if (record === undefined) return;
    record.lost = { atMs: this.#clock.nowMs(), reason: reason ?? "ended in order" };
  }

  remove(proxyId: string): void {
    this.#proxies.delete(proxyId);
  }

  sent(proxyId: string, { typeUrl, version }: Outgoing): void {
    this.#type(proxyId, typeUrl).sent = { version, atMs: this.#clock.nowMs() };
  }

  answered(proxyId: string, answer: ProxyAnswer): void {
    const record = this.#type(proxyId, answer.typeUrl);
    const { version } = answer;
    const moment = { version, atMs: this.#clock.nowMs() };
    if (answer.kind === "acked") {
      record.acked = moment;
      record.refusal = withoutAcked(record.refusal, answer.resources);
    } else {
      record.refusal = { ...moment, resources: answer.resources, reason: answer.reason };
    }
  }

  read(
    proxyId: string,
    connection: ServerConnection | undefined,
    snapshot: Snapshot | undefined,
  ): ServedProxy | undefined {
    const record = this.#proxies.get(proxyId);
    if (record === undefined) return undefined;
    const types = [...record.types].map(([typeUrl, type]) => ({
      typeUrl,
      resources: resourcesOf(snapshot, typeUrl).size,
      isSettled: connection?.isTypeSettled(typeUrl) ?? false,
      sent: type.sent,
      acked: type.acked,
      refusal: currentRefusal(type.refusal, resourcesOf(snapshot, typeUrl)),
    }));
    return { connection: connectionOf(record, connection), types };
  }

  #proxy(proxyId: string): ProxyRecord {
    const known = this.#proxies.get(proxyId);
    if (known !== undefined) return known;
    const record: ProxyRecord = { types: new Map(), lost: undefined };
    this.#proxies.set(proxyId, record);
    return record;
  }

  #type(proxyId: string, typeUrl: string): TypeRecord {
    const { types } = this.#proxy(proxyId);
    const known = types.get(typeUrl);
    if (known !== undefined) return known;
    const record: TypeRecord = { sent: undefined, acked: undefined, refusal: undefined };
    types.set(typeUrl, record);
    return record;
  }
}

/** One that names resources lasts as long as the snapshot holds them, or until they are accepted after all. */
function withoutAcked(
  refusal: Refusal | undefined,
  acked: readonly EncodedResource[],
): Refusal | undefined {
  if (refusal === undefined) return undefined;
  const resources = refusal.resources.filter(
    ({ name, version }) => !acked.some((one) => one.name === name && one.version === version),
  );
  return resources.length === 0 ? undefined : { ...refusal, resources };
}

function currentRefusal(refusal: Refusal | undefined, resources: ResourceSet): Refusal | undefined {
  if (refusal === undefined || refusal.resources.length === 0) return refusal;
  const { resources: refused } = refusal;
  const isCurrent = refused.some(({ name, version }) => resources.get(name)?.version === version);
  return isCurrent ? refusal : undefined;
}

function connectionOf(
  record: ProxyRecord,
  connection: ServerConnection | undefined,
): ServedProxy["connection"] {
  if (connection !== undefined) {
    const { sinceMs, peer, variant } = connection;
    return { kind: "connected", sinceMs, address: peer, variant };
  }
  if (record.lost === undefined) return { kind: "never" };
  return { kind: "disconnected", sinceMs: record.lost.atMs, reason: record.lost.reason };
}
