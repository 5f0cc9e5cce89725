/** What a health check by HTTP says and what its answer means, whatever version of HTTP carries them. */
import type { Http1Head } from "../../wire/http1-head.ts";
import type { HeaderEdit } from "../engine/header-edit.ts";
import type { RequestView } from "../engine/request.ts";
import { MessageHeaders } from "../http/message-headers.ts";
import { holdsInOrder, type HttpProbePlan } from "./health-plan.ts";
import type { ProbeOwner, ProbeTarget } from "./health-probe.ts";

/** Nobody's connection: who asks is the proxy itself. */
const ownConnection: RequestView["connection"] = {
  sourceAddress: "127.0.0.1",
  sourcePort: 0,
  destinationAddress: "127.0.0.1",
  destinationPort: 0,
  sni: undefined,
  alpn: undefined,
  isTls: false,
  peerUriSans: [],
};

export interface HttpQuestion {
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly headers: MessageHeaders;
}

/** `fields`: those that come before what the check's configuration changes. */
export function questionOf(
  plan: {
    readonly method: string;
    readonly path: string;
    readonly host: string;
    readonly edit: HeaderEdit | undefined;
  },
  { hostname, tls }: ProbeTarget,
  fields: readonly (readonly [name: string, value: string])[] = [],
): HttpQuestion {
  const { method, path, host, edit } = plan;
  const headers = new MessageHeaders();
  for (const [name, value] of fields) headers.add(name, value);
  headers.add("user-agent", "Envoy/HC");
  const authority = hostname === "" ? host : hostname;
  const scheme = tls === undefined ? "http" : "https";
  edit?.(headers, {
    method,
    path,
    authority,
    scheme,
    header: (name) => headers.get(name),
    connection: ownConnection,
  });
  return { scheme, authority, headers };
}

/** So much of an answer's content as is looked at. */
export class KeptContent {
  readonly #bytesMax: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor({ receive, bufferBytesMax }: HttpProbePlan) {
    this.#bytesMax = receive.length === 0 ? 0 : bufferBytesMax;
  }

  add(content: Buffer): void {
    const room = this.#bytesMax - this.#bytes;
    if (room <= 0) return;
    const part = Buffer.from(content.subarray(0, room));
    this.#parts.push(part);
    this.#bytes += part.length;
  }

  take(): Buffer {
    const all = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return all;
  }
}

export function judgeAnswer(
  plan: HttpProbePlan,
  head: Http1Head,
  ...[body, owner]: [body: Buffer, owner: ProbeOwner]
): void {
  const { receive, isExpected, isRetriable, service } = plan;
  const holds = receive.length === 0 || holdsInOrder(body, receive);
  if (!holds || !isExpected(head.status)) {
    if (head.findName("x-envoy-immediate-health-check-fail") >= 0) owner.onExcluded();
    return owner.onFail("active", holds && isRetriable(head.status), head.status);
  }
  if (service !== undefined) {
    owner.onServiceChecked();
    const named = head.joined("x-envoy-upstream-healthchecked-cluster") ?? "";
    if (!service(named)) return owner.onFail("active", false, head.status);
  }
  owner.onPass(head.findName("x-envoy-degraded") >= 0);
}
