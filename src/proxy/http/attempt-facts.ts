/**
 * What an attempt tells others, so that they can decide or write: the load balancer, the head's
 * writer, outlier detection, the retry policy. Filled again for each attempt; nobody keeps it.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type { EndpointChoice, UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { MadeCookies } from "../engine/hash-policy.ts";
import type { AttemptOutcome, CompiledRoute } from "../engine/route-table.ts";
import type { HttpRequest } from "./http-request.ts";
import type { AttemptFields } from "./request-head-writer.ts";
import type { Retries } from "./retries.ts";

type Changeable<T> = { -readonly [Key in keyof T]: T[Key] };

export class AttemptFacts implements MadeCookies {
  cookies: string[] | undefined = undefined;
  readonly #request: HttpRequest;
  readonly #choice: Changeable<EndpointChoice>;
  #route: CompiledRoute | undefined = undefined;
  readonly #fields: Changeable<AttemptFields> = { expectedMs: 0, count: 0, isUpgrade: false };
  readonly #answer: AnswerOutcome = new AnswerOutcome();
  readonly #reported: Changeable<Extract<UpstreamOutcome, { kind: "response" }>> = {
    kind: "response",
    status: 0,
    durationMs: 0,
  };

  constructor(request: HttpRequest) {
    this.#request = request;
    this.#choice = {
      connection: request.connection,
      hash: undefined,
      avoid: undefined,
      wanted: this,
    };
  }

  choice(route: CompiledRoute, retries: Retries): EndpointChoice {
    const choice = this.#choice;
    this.cookies = undefined;
    this.#route = route;
    choice.hash = route.hash?.(this.#request, this);
    choice.criteria = route.criteria;
    // A session's endpoint had its turn.
    choice.override = retries.count === 0 ? this.#request.endpoint : undefined;
    choice.avoid = retries.avoided;
    choice.redrawsMax = retries.redrawsMax;
    choice.authority = this.#request.authority;
    return choice;
  }

  /** The host that will be asked for, unless a header of this name says another. */
  hostOr(header: string): string {
    const request = this.#request;
    const told = header === "" ? undefined : request.header(header);
    if (told !== undefined && told !== "") return told;
    const route = this.#route;
    return route?.hostRewriteFrom?.(request) ?? route?.hostRewrite ?? request.authority;
  }

  fields(expectedMs: number, count: number, isUpgrade: boolean): AttemptFields {
    const fields = this.#fields;
    fields.expectedMs = expectedMs;
    fields.count = count;
    fields.isUpgrade = isUpgrade;
    return fields;
  }

  /** For the retry policy. */
  answer(head: Http1Head): AttemptOutcome {
    this.#answer.head = head;
    return this.#answer;
  }

  /** An endpoint that is checked can ask, in any answer, not to be counted until it passes again. */
  heed(head: Http1Head, endpoint: UpstreamEndpoint): void {
    if (head.findName("x-envoy-immediate-health-check-fail") >= 0) endpoint.suspect?.();
  }

  /** For outlier detection. */
  reported(status: number, durationMs: number): UpstreamOutcome {
    this.#reported.status = status;
    this.#reported.durationMs = durationMs;
    return this.#reported;
  }
}

class AnswerOutcome {
  readonly kind = "response";
  head: Http1Head | undefined = undefined;

  get status(): number {
    return this.head?.status ?? 0;
  }

  get grpcStatus(): number | undefined {
    const field = this.head?.findId(known.grpcStatus) ?? -1;
    return field < 0 ? undefined : Number(this.head?.valueAt(field));
  }

  header(name: string): string | undefined {
    return this.head?.joined(name);
  }
}
