/** A health check by `grpc.health.v1.Health/Check`, over HTTP/2: SERVING passes, nothing else does. */
import {
  formatGrpcTimeout,
  GrpcMessageReader,
  grpcPrefix,
  grpcStatus,
  parseGrpcStatus,
} from "../../wire/grpc.ts";
import {
  decodeHealthResponse,
  encodeHealthRequest,
  servingStatus,
} from "../../wire/grpc-health.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { GrpcProbePlan } from "./health-plan.ts";
import type { ProbeOwner, ProbeParts } from "./health-probe.ts";
import { questionOf } from "./http-question.ts";
import type { AnswerReader, Http2Question } from "./http2-probe.ts";

/** An answer has two bytes, and what later versions may add. */
const messageBytesMax = 4096;
const path = "/grpc.health.v1.Health/Check";
const method = "POST";

export function grpcQuestion(
  plan: GrpcProbePlan,
  { target, plan: all }: ProbeParts,
): Http2Question {
  const question = questionOf({ ...plan, method, path }, target, [
    ["te", "trailers"],
    ["content-type", "application/grpc"],
  ]);
  question.headers.set("grpc-timeout", formatGrpcTimeout(all.settings.timeoutMs));
  return {
    ...question,
    method,
    path,
    body: framed(encodeHealthRequest(plan.service)),
    keepsConnection: true,
    answer: new GrpcAnswer(),
  };
}

function framed(message: Uint8Array): Uint8Array {
  return Buffer.concat([grpcPrefix(message.length), message]);
}

class GrpcAnswer implements AnswerReader {
  readonly #reader = new GrpcMessageReader(messageBytesMax);
  #status: number | undefined;
  /** It breaks the rules of gRPC. */
  #isFaulty = false;

  onHead(head: Http1Head): boolean {
    const isCall = head.status === 200 && isGrpcContentType(head.joined("content-type") ?? "");
    this.#isFaulty = !isCall;
    return this.#isFaulty;
  }

  onContent(content: Buffer): boolean {
    const error = this.#reader.read(content, (message) => this.#take(message));
    if (error !== undefined) this.#isFaulty = true;
    return this.#isFaulty;
  }

  #take(message: Uint8Array): void {
    // Envoy passes over messages without content, too.
    if (message.length === 0) return;
    const status = decodeHealthResponse(message);
    if (status === undefined || this.#status !== undefined) this.#isFaulty = true;
    this.#status ??= status;
  }

  judge(_head: Http1Head, trailers: Http1Head | undefined, owner: ProbeOwner): void {
    const isOk =
      !this.#isFaulty &&
      trailers !== undefined &&
      parseGrpcStatus(trailers.joined("grpc-status")) === grpcStatus.ok;
    if (isOk && this.#status === servingStatus.serving) owner.onPass(false);
    else owner.onFail("active", false);
  }
}
