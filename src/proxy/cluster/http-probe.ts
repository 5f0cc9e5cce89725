/** A health check by HTTP/1.1: one request, and an answer that passes or not. */
import type { Channel, ChannelHandler } from "../../net/channel.ts";
import { BodyReader, bodyStep } from "../../wire/http1-body.ts";
import { frameResponse } from "../../wire/http1-framing.ts";
import { defaultHeadLimits, Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import { Http1Writer } from "../../wire/http1-writer.ts";
import type { HttpProbePlan } from "./health-plan.ts";
import { dialProbe, type Probe, type ProbeParts, type ProbeTarget } from "./health-probe.ts";
import { judgeAnswer, KeptContent, questionOf } from "./http-question.ts";

/** Interim answers tolerated before the final one. */
const interimMax = 16;

export class HttpProbeConnection implements Probe, ChannelHandler {
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
  readonly #kept: KeptContent;

  constructor(parts: ProbeParts, plan: HttpProbePlan, onOver: () => void) {
    this.#parts = parts;
    this.#plan = plan;
    this.#kept = new KeptContent(plan);
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
    this.#channel?.write(composeProbe(this.#plan, this.#parts.target));
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
        this.#kept.add(chunk.subarray(this.#body.dataStart, this.#body.dataEnd));
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
    const body = this.#kept.take();
    const { owner, plan } = this.#parts;
    if (!plan.reusesConnections || !this.#head.isKeepAlive || hasSurplus) this.close();
    judgeAnswer(this.#plan, this.#head, body, owner);
  }

  #fail(): void {
    this.#isWaiting = false;
    this.close();
    this.#parts.owner.onFail("network", false);
  }

  giveUp(): void {
    this.close();
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

function composeProbe(plan: HttpProbePlan, target: ProbeTarget): Buffer {
  const { method, path, body } = plan;
  const { authority, headers } = questionOf(plan, target);
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
