/** A request as routes, policies and filters see it, over the received bytes and our edits. */
import type { DynamicMetadata, RequestRecord } from "../../telemetry/request-record.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { slotWidth } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type { EndpointOverride } from "../context.ts";
import type { FilterState } from "../engine/filter-state.ts";
import type { ConnectionView, RequestView } from "../engine/request.ts";
import { MessageHeaders } from "./message-headers.ts";

const commonMethods = [
  "GET",
  "POST",
  "HEAD",
  "PUT",
  "DELETE",
  "OPTIONS",
  "PATCH",
  "CONNECT",
] as const;

/** Longer paths hardly come twice. */
const keptPathMax = 256;

export class HttpRequest implements RequestView {
  method = "";
  path = "";
  authority = "";
  scheme = "http";
  /** The client's, as far as trusted proxies vouch for it. */
  remoteAddress: string;
  /** The client is one of ours, and may control how its request is served. */
  isInternal = false;
  /** The request begins again, by this scheme: what was settled about its client holds. */
  redirectedTo: "http" | "https" | undefined = undefined;
  /** Said of the next head alone: it may be answered, and the one after it be there, before `begin()` returns. */
  redirectsTo: "http" | "https" | undefined = undefined;
  readonly connection: ConnectionView;
  /** What filters have found out; it grows. */
  metadata: DynamicMetadata | undefined = undefined;
  /** What filters have set for those behind them. */
  state: FilterState | undefined = undefined;
  /** The endpoint that a session asks for. */
  endpoint: EndpointOverride | undefined = undefined;
  /** Set once, by the record itself. */
  record: RequestRecord | undefined = undefined;
  readonly headers: MessageHeaders = new MessageHeaders();
  /** Of the request before, if it is worth keeping. */
  #lastPath = "";

  constructor(connection: ConnectionView) {
    this.connection = connection;
    this.remoteAddress = connection.sourceAddress;
  }

  /** Takes a complete, framed head; authority and path are settled by `request-target.ts`. */
  reset(head: Http1Head): void {
    this.redirectedTo = this.redirectsTo;
    this.redirectsTo = undefined;
    this.headers.reset(head);
    this.method = methodOf(head);
    this.path = "";
    this.metadata = undefined;
    this.state = undefined;
    this.endpoint = undefined;
    const host = head.findId(known.host);
    if (host < 0) this.authority = "";
    // Connections mostly stay with one authority: the string of the last request serves again.
    else if (!isSameValue(head, host, this.authority)) this.authority = head.valueAt(host);
  }

  /** The target of a head that names nothing but a path. Callers of gRPC ask for one again and again. */
  takePath(head: Http1Head): void {
    const start = head.methodEnd + 1;
    const { bytes, targetEnd } = head;
    const last = this.#lastPath;
    if (targetEnd - start === last.length && startsWith(bytes, start, last)) {
      this.path = last;
      return;
    }
    this.path = head.text(start, targetEnd);
    this.#lastPath = this.path.length <= keptPathMax ? this.path : "";
  }

  /** A filter's change: what reads the report, as conditions of policies do, must not see what the client wrote. */
  changePath(path: string): void {
    this.path = path;
    if (this.record !== undefined) this.record.path = path;
  }

  /** The same of whom it is for, and of what is asked. */
  changeAuthority(authority: string): void {
    this.authority = authority;
    if (this.record !== undefined) this.record.authority = authority;
  }

  changeMethod(method: string): void {
    this.method = method;
    if (this.record !== undefined) this.record.method = method;
  }

  header(name: string): string | undefined {
    if (name.charCodeAt(0) === 0x3a) return this.#pseudo(name);
    return name === "host" ? this.authority : this.headers.get(name);
  }

  lines(name: string): readonly string[] | undefined {
    if (name.charCodeAt(0) === 0x3a || name === "host") return undefined;
    const values = this.headers.values(name);
    return values.length < 2 ? undefined : values;
  }

  /** Keys of before that are not among these stay. */
  addMetadata(namespace: string, fields: Readonly<Record<string, unknown>>): void {
    const before = this.metadata?.get(namespace);
    const merged = before === undefined ? fields : { ...before, ...fields };
    this.metadata = new Map([...(this.metadata ?? []), [namespace, merged]]);
  }

  #pseudo(name: string): string | undefined {
    switch (name) {
      case ":method":
        return this.method;
      case ":path":
        // CONNECT has none.
        return this.path || undefined;
      case ":authority":
        return this.authority;
      case ":scheme":
        return this.scheme;
      default:
        return undefined;
    }
  }
}

function methodOf(head: Http1Head): string {
  const { bytes, lineStart, methodEnd } = head;
  const length = methodEnd - lineStart;
  for (const method of commonMethods) {
    if (method.length === length && startsWith(bytes, lineStart, method)) return method;
  }
  return head.text(lineStart, methodEnd);
}

function startsWith(bytes: Uint8Array, from: number, text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (bytes[from + index] !== text.charCodeAt(index)) return false;
  }
  return true;
}

function isSameValue(head: Http1Head, field: number, text: string): boolean {
  const at = field * slotWidth;
  const start = head.slots[at + 2] ?? 0;
  return (head.slots[at + 3] ?? 0) - start === text.length && startsWith(head.bytes, start, text);
}
