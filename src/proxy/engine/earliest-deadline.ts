/**
 * Earliest deadline first: serves members in proportion to their weights, spread evenly in time. A
 * binary heap of deadlines; each service moves a member's deadline by 1/weight.
 */
export class EarliestDeadline<T> {
  readonly #heap: { deadline: number; readonly order: number; readonly member: T }[] = [];
  readonly #weightOf: (member: T) => number;

  /** `weightOf` must be positive; it is asked at every service, so weights may change. */
  constructor(members: readonly T[], weightOf: (member: T) => number) {
    this.#weightOf = weightOf;
    for (const [order, member] of members.entries()) {
      this.#heap.push({ deadline: 1 / weightOf(member), order, member });
    }
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  next(): T | undefined {
    const first = this.#heap[0];
    if (first === undefined) return undefined;
    first.deadline += 1 / this.#weightOf(first.member);
    this.#sink(0);
    return first.member;
  }

  #sink(start: number): void {
    const heap = this.#heap;
    let at = start;
    for (;;) {
      const left = 2 * at + 1;
      let least = at;
      if (this.#isBefore(left, least)) least = left;
      if (this.#isBefore(left + 1, least)) least = left + 1;
      const a = heap[at];
      const b = heap[least];
      if (least === at || a === undefined || b === undefined) return;
      heap[at] = b;
      heap[least] = a;
      at = least;
    }
  }

  #isBefore(i: number, j: number): boolean {
    const a = this.#heap[i];
    const b = this.#heap[j];
    if (a === undefined || b === undefined) return false;
    return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
  }
}
