/**
 * What an endpoint, and whoever judges or counts it, is told of a request that is nobody's attempt: a copy of
 * another's, or a question of the proxy's own. As of a client's: an answer counts when its head is there.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import { EndpointAnswers } from "./endpoint-answers.ts";

export class OwnAttempt {
  readonly endpoint: UpstreamEndpoint;
  readonly #answers: EndpointAnswers | undefined;
  #isOver = false;

  /** `contentType`: the request's. */
  constructor(endpoint: UpstreamEndpoint, contentType: string | undefined) {
    this.endpoint = endpoint;
    endpoint.active++;
    if (endpoint.stats === undefined) return;
    this.#answers = new EndpointAnswers();
    this.#answers.begin(contentType);
  }

  /** The answer's head is there. */
  onHead(head: Http1Head, durationMs: number): void {
    if (this.#answers !== undefined) this.#answers.head = head;
    this.#tell({ kind: "response", status: head.status, durationMs });
  }

  /** The whole answer is there. */
  onEnd(trailers: Http1Head | undefined): void {
    const { stats } = this.endpoint;
    if (stats !== undefined) this.#answers?.onEnd(stats, trailers);
    this.leave(undefined);
  }

  /** It is over; once. `outcome` undefined: there is nothing more to be told. */
  leave(outcome: UpstreamOutcome | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.endpoint.active--;
    if (outcome !== undefined) this.#tell(outcome);
  }

  #tell(outcome: UpstreamOutcome): void {
    const { endpoint } = this;
    endpoint.report(outcome);
    if (endpoint.stats !== undefined) this.#answers?.tell(endpoint.stats, outcome, false);
  }
}
