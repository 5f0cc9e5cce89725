/** What a request says of the server that it wants, for clusters that heed that. */
import type { DynamicMetadata } from "../../telemetry/request-record.ts";
import type { FilterState } from "./filter-state.ts";

export interface WantedServer {
  /** The host that will be asked for, unless a header of this name says another. */
  hostOr(header: string): string;
  /** By name in lower case. */
  header(name: string): string | undefined;
  /** The same of the first line with that name alone. */
  firstLine(name: string): string | undefined;
  /** What filters have set for the request, beside what they have for its connection. */
  readonly state?: FilterState | undefined;
  /** What filters have found out about the request. */
  readonly metadata?: DynamicMetadata | undefined;
  /** Keys of before that are not among these stay. */
  addMetadata(namespace: string, fields: Readonly<Record<string, unknown>>): void;
  /** Endpoints that it names, once a cluster has asked. */
  namedHosts: NamedHosts | undefined;
}

/** One for each attempt. */
export interface NamedHosts {
  /** Undefined when all have had their turn. */
  next(): string | undefined;
}
