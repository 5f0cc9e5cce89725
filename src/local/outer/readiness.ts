/** What the supervisor has told of the mesh's readiness, to be awaited by whoever started it. */
export class Readiness {
  readonly #first = Promise.withResolvers<readonly string[]>();
  readonly #all = Promise.withResolvers<void>();

  constructor() {
    // Whoever started the mesh may have stopped waiting.
    this.#first.promise.catch(() => {});
    this.#all.promise.catch(() => {});
  }

  /** What is not ready when waiting longer changes nothing, a sentence each. Rejects when it cannot start. */
  get first(): Promise<readonly string[]> {
    return this.#first.promise;
  }

  /** Resolves when everything is ready, which may be later. */
  get all(): Promise<void> {
    return this.#all.promise;
  }

  tell(notReady: readonly string[]): void {
    this.#first.resolve(notReady);
    if (notReady.length === 0) this.#all.resolve();
  }

  fail(reason: unknown): void {
    this.#first.reject(reason);
    this.#all.reject(reason);
  }
}
