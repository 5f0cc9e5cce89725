/** One question for all threads that ask it within a moment of each other. */
import { messageOf } from "../../base/error.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import type { Clock } from "../../base/clock.ts";
import type { AddressFamily, ResolvedName, Resolver } from "../../net/resolver.ts";

/** Answers are shared for so long, failures too. */
const sharedMs = 1000;

export class SharedResolver implements Resolver {
  readonly #resolver: Resolver;
  readonly #clock: Clock;
  readonly #answers = new Map<string, Promise<ResolvedName>>();

  constructor(resolver: Resolver, clock: Clock) {
    this.#resolver = resolver;
    this.#clock = clock;
  }

  resolve(hostname: string, family: AddressFamily): Promise<ResolvedName> {
    const key = `${family} ${hostname}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known;
    const answer = this.#resolver.resolve(hostname, family);
    this.#answers.set(key, answer);
    const forget = (): void => {
      this.#clock.schedule(sharedMs, () => this.#answers.delete(key));
    };
    answer.then(forget, forget);
    return answer;
  }
}

/** A worker's question. */
export async function answerName(
  resolver: Resolver,
  link: { post(message: ToWorker): void },
  { id, hostname, family }: FromWorker & { readonly kind: "resolve" },
): Promise<void> {
  try {
    const answer = await resolver.resolve(hostname, family);
    link.post({ kind: "resolved", id, answer });
  } catch (thrown) {
    link.post({ kind: "resolved", id, answer: messageOf(thrown) });
  }
}
