/** Which entries want the endpoints of a service: one assignment of thousands concerns a few. */
export class EndpointWishes<Entry> {
  readonly #byService = new Map<string, Set<Entry>>();
  #names: ReadonlySet<string> = new Set();
  #isCurrent = true;

  /** The same set until it changes. */
  get names(): ReadonlySet<string> {
    if (!this.#isCurrent) {
      this.#isCurrent = true;
      this.#names = new Set(this.#byService.keys());
    }
    return this.#names;
  }

  of(service: string): Iterable<Entry> {
    return this.#byService.get(service) ?? [];
  }

  /** What an entry asks for has changed. */
  update(
    entry: Entry,
    before: readonly (string | undefined)[],
    wanted: readonly (string | undefined)[],
  ): void {
    for (const service of before) {
      if (service === undefined || wanted.includes(service)) continue;
      const entries = this.#byService.get(service);
      entries?.delete(entry);
      if (entries?.size !== 0) continue;
      this.#byService.delete(service);
      this.#isCurrent = false;
    }
    for (const service of wanted) {
      if (service === undefined) continue;
      const entries = this.#byService.get(service);
      if (entries !== undefined) {
        entries.add(entry);
        continue;
      }
      this.#byService.set(service, new Set([entry]));
      this.#isCurrent = false;
    }
  }
}
