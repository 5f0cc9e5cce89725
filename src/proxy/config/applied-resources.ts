/** What was accepted and what was refused, as received: for the admin interface and for skipping. */
import type { Clock } from "../../base/clock.ts";
import type { XdsResource } from "../../xds/feed.ts";
import type { RefusedField } from "../engine/refusal.ts";

export interface AppliedResource {
  readonly resource: XdsResource;
  readonly appliedAtMs: number;
}

export interface RefusedResource extends AppliedResource {
  readonly reason: string;
  /** What the reason is made of. */
  readonly fields: readonly RefusedField[];
}

type ChangeWatch = (typeUrl: string, change: "added" | "modified" | "removed") => void;

export class AppliedResources {
  readonly #accepted = new Map<string, Map<string, AppliedResource>>();
  readonly #refused = new Map<string, Map<string, RefusedResource>>();

  readonly #clock: Clock;
  readonly #onChange: ChangeWatch;

  constructor(clock: Clock, onChange: ChangeWatch = () => undefined) {
    this.#clock = clock;
    this.#onChange = onChange;
  }

  /** The same version and bytes serve already, and nothing newer was refused in between. */
  isCurrent(typeUrl: string, resource: XdsResource): boolean {
    const accepted = this.#accepted.get(typeUrl)?.get(resource.name)?.resource;
    if (accepted === undefined || this.#refused.get(typeUrl)?.has(resource.name) === true) {
      return false;
    }
    return accepted.version === resource.version && isEqual(accepted.bytes, resource.bytes);
  }

  accept(typeUrl: string, resource: XdsResource): void {
    this.#refused.get(typeUrl)?.delete(resource.name);
    const table = tableOf(this.#accepted, typeUrl);
    this.#onChange(typeUrl, table.has(resource.name) ? "modified" : "added");
    table.set(resource.name, { resource, appliedAtMs: this.#clock.nowMs() });
  }

  refuse(
    typeUrl: string,
    resource: XdsResource,
    why: Pick<RefusedResource, "reason" | "fields">,
  ): void {
    const entry = { resource, ...why, appliedAtMs: this.#clock.nowMs() };
    tableOf(this.#refused, typeUrl).set(resource.name, entry);
  }

  remove(typeUrl: string, name: string): void {
    if (this.#accepted.get(typeUrl)?.delete(name) === true) this.#onChange(typeUrl, "removed");
    this.#refused.get(typeUrl)?.delete(name);
  }

  accepted(typeUrl: string): readonly AppliedResource[] {
    return inOrder(this.#accepted.get(typeUrl));
  }

  refused(typeUrl: string): readonly RefusedResource[] {
    return inOrder(this.#refused.get(typeUrl));
  }
}

function tableOf<T>(tables: Map<string, Map<string, T>>, typeUrl: string): Map<string, T> {
  const table = tables.get(typeUrl) ?? new Map<string, T>();
  tables.set(typeUrl, table);
  return table;
}

function inOrder<T extends AppliedResource>(table: ReadonlyMap<string, T> | undefined): T[] {
  return [...(table?.values() ?? [])].toSorted((a, b) =>
    a.resource.name < b.resource.name ? -1 : 1,
  );
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}
