/** A health check by HTTP/1.1: one request, and an answer that passes or not. */
import type { Channel, ChannelHandler } from "../../net/channel.ts";
import { BodyReader, bodyStep } from "../../wire/http1-body.ts";
import { frameResponse } from "../../wire/http1-framing.ts";
import { defaultHeadLimits, Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import { Http1Writer } from "../../wire/http1-writer.ts";
import type { RequestView } from "../engine/request.ts";
import { MessageHeaders } from "../http/message-headers.ts";
import { type HttpProbePlan, holdsInOrder } from "./health-plan.ts";
import { dialProbe, type Probe, type ProbeParts } from "./health-probe.ts";

/** Interim answers tolerated before the final one. */
const interimMax = 16;

export class HttpProbe implements Probe {
  readonly #parts: ProbeParts;
  readonly #plan: HttpProbePlan;
  #connection: HttpProbeConnection | undefined;

  constructor(parts: ProbeParts, plan: HttpProbePlan) {
    this.#parts = parts;
    this.#plan = plan;
  }

  ask(): void {
    this.#connection ??= new HttpProbeConnection(this.#parts, this.#plan, () => {
      this.#connection = undefined;
    });
    this.#connection.ask();
  }

  close(): void {
    this.#connection?.close();
  }
}

class HttpProbeConnection implements ChannelHandler {
  readonly #parts: ProbeParts;
  readonly #plan: HttpProbePlan;
  readonly #onOver: () => void;
  readonly #head = new Http1Head();
  readonly #body = new BodyReader(defaultHeadLimits);
  #channel: Channel | undefined;
  #isConnected = false;
  #isWaiting = false;
  #isHeadRead = false;
  #isOver = false;
  #interims = 0;
  #kept: Buffer[] = [];
  #keptBytes = 0;

  constructor(parts: ProbeParts, plan: HttpProbePlan, onOver: () => void) {
    this.#parts = parts;
    this.#plan = plan;
    this.#onOver = onOver;
  }

  ask(): void {
    this.#isWaiting = true;
    this.#isHeadRead = false;
    this.#interims = 0;
    this.#head.reset("response");
    if (this.#isConnected) return this.#send();
    this.#channel ??= dialProbe(this.#parts, this, () => {
      this.#isConnected = true;
      this.#send();
    });
  }

  #send(): void {
    const { hostname } = this.#parts.target;
    this.#channel?.write(composeProbe(this.#plan, hostname));
  }

  onData(chunk: Buffer): void {
    if (this.#isOver) return;
    // Nothing was asked, so this answers nothing.
    if (!this.#isWaiting) return this.close();
    let at = 0;
    while (!this.#isHeadRead) {
      at += feedHead(this.#head, chunk, at, defaultHeadLimits);
      if (this.#head.error !== undefined) return this.#fail();
      if (!this.#head.isComplete) return;
      if (!this.#takeHead()) return this.#fail();
    }
    for (;;) {
      const step = this.#body.next(chunk, at);
      at = this.#body.position;
      if (step === bodyStep.content)
        this.#keep(chunk.subarray(this.#body.dataStart, this.#body.dataEnd));
      else if (step === bodyStep.error) return this.#fail();
      else if (step === bodyStep.end) return this.#answered(at < chunk.length);
      else return;
    }
  }

  /** False for one that breaks the protocol. */
  #takeHead(): boolean {
    const head = this.#head;
    if (frameResponse(head, this.#plan.method === "HEAD") !== undefined) return false;
    if (head.status === 101) return false;
    if (head.status < 200) {
      head.reset("response");
      return ++this.#interims <= interimMax;
    }
    this.#isHeadRead = true;
    this.#body.start(head.bodyKind, head.bodyLength);
    return true;
  }

  #keep(content: Buffer): void {
    const room = this.#plan.bufferBytesMax - this.#keptBytes;
    if (this.#plan.receive.length === 0 || room <= 0) return;
    const part = Buffer.from(content.subarray(0, room));
    this.#kept.push(part);
    this.#keptBytes += part.length;
  }

  onEnd(): void {
    if (this.#isOver) return;
    if (this.#isWaiting && this.#isHeadRead && this.#body.finish()) return this.#answered(true);
    this.#channel?.destroy();
  }

  onDrain(): void {}

  onClose(): void {
    if (this.#isOver) return;
    if (this.#isWaiting) this.#fail();
    else this.#end();
  }

  #answered(hasSurplus: boolean): void {
    this.#isWaiting = false;
    const body = Buffer.concat(this.#kept);
    this.#kept = [];
    this.#keptBytes = 0;
    const { owner, plan } = this.#parts;
    if (!plan.reusesConnections || !this.#head.isKeepAlive || hasSurplus) this.close();
    this.#judge(body, owner);
  }

  #judge(body: Buffer, owner: ProbeParts["owner"]): void {
    const head = this.#head;
    const { receive, isExpected, isRetriable, service } = this.#plan;
    const holds = receive.length === 0 || holdsInOrder(body, receive);
    if (!holds || !isExpected(head.status)) {
      if (head.findName("x-envoy-immediate-health-check-fail") >= 0) owner.onExcluded();
      return owner.onFail("active", holds && isRetriable(head.status));
    }
    if (service !== undefined) {
      owner.onServiceChecked();
      const named = head.joined("x-envoy-upstream-healthchecked-cluster") ?? "";
      if (!service(named)) return owner.onFail("active", false);
    }
    owner.onPass(head.findName("x-envoy-degraded") >= 0);
  }

  #fail(): void {
    this.#isWaiting = false;
    this.close();
    this.#parts.owner.onFail("network", false);
  }

  close(): void {
    if (this.#isOver) return;
    this.#end();
    this.#channel?.destroy();
  }

  #end(): void {
    this.#isOver = true;
    this.#onOver();
  }
}

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

function composeProbe(plan: HttpProbePlan, hostname: string): Buffer {
  const { method, path, host, edit, body } = plan;
  const headers = new MessageHeaders();
  headers.add("user-agent", "Envoy/HC");
  const authority = hostname === "" ? host : hostname;
  edit?.(headers, {
    method,
    path,
    authority,
    scheme: "http",
    header: (name) => headers.get(name),
    connection: ownConnection,
  });
  const writer = new Http1Writer();
  writer.text(`${method} ${path} HTTP/1.1\r\n`);
  writer.field("host", authority);
  headers.forEach((name, value) => writer.field(name, value));
  const mayHaveBody =
    method !== "GET" && method !== "HEAD" && method !== "DELETE" && method !== "TRACE";
  if (mayHaveBody) writer.field("content-length", String(body?.length ?? 0));
  writer.lineEnd();
  if (body !== undefined) writer.bytes(body, 0, body.length);
  return writer.take();
}
