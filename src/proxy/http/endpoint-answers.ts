/**
 * How the attempts of a request have fared, for the series of clusters that tell of each endpoint. As
 * Envoy's router: an answer counts when its head is there, by its status; one of gRPC by the status
 * that its trailers say. What breaks off later counts no more.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type { UpstreamOutcome } from "../context.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { EndpointStats } from "../stats/endpoint-series.ts";

/** Which statuses of gRPC are 5xx as those of HTTP: UNKNOWN, DEADLINE_EXCEEDED and 12 to 15. */
const grpcErrors: ReadonlySet<string> = new Set(["2", "4", "12", "13", "14", "15"]);

export class EndpointAnswers {
  /** Of the answer that is told next. */
  head: Http1Head | undefined = undefined;
  #isGrpc = false;
  #hasAnswered = false;
  /** Its trailers will say what its head has not. */
  #isOwed = false;

  /** `contentType`: the request's. */
  begin(contentType: string | undefined): void {
    this.#isGrpc = isGrpcContentType(contentType);
    this.#hasAnswered = false;
    this.#isOwed = false;
  }

  tell(stats: EndpointStats, outcome: UpstreamOutcome, isRetried: boolean): void {
    if (outcome.kind === "response") return this.#onHead(stats, isRetried);
    if (this.#hasAnswered && !this.#isOwed) return;
    this.#isOwed = false;
    if (outcome.kind === "timeout") stats.onTimeout();
    stats.onAnswer(true);
  }

  onEnd(stats: EndpointStats, trailers: Http1Head | undefined): void {
    if (!this.#isOwed) return;
    this.#isOwed = false;
    stats.onAnswer(isGrpcError(grpcStatusOf(trailers)));
  }

  #onHead(stats: EndpointStats, isRetried: boolean): void {
    const { head } = this;
    if (isRetried) return stats.onAnswer(true);
    this.#hasAnswered = true;
    if (!this.#isGrpc) return stats.onAnswer((head?.status ?? 0) >= 500);
    const status = grpcStatusOf(head);
    this.#isOwed = status === undefined && head?.status === 200;
    if (!this.#isOwed) stats.onAnswer(isGrpcError(status));
  }
}

function grpcStatusOf(head: Http1Head | undefined): string | undefined {
  const field = head?.findId(known.grpcStatus) ?? -1;
  return field < 0 ? undefined : head?.valueAt(field);
}

/** As Envoy: none at all is no success. */
function isGrpcError(status: string | undefined): boolean {
  return status === undefined || grpcErrors.has(status);
}
