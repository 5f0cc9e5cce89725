/**
 * `/reset_counters`: what the admin interface shows of counters begins at zero again. The counters
 * themselves go on, for others count on their growing.
 */
export class CounterReset {
  /** What each counter had come to; series that a registry has dropped since are not missed. */
  readonly #bases = new Map<string, number>();

  /** `exposition`: of now, in Prometheus's text. */
  reset(exposition: string): void {
    this.#bases.clear();
    for (const { series, value } of counterLines(exposition)) this.#bases.set(series, value);
  }

  /** The same as it shall be shown. */
  applyTo(exposition: string): string {
    if (this.#bases.size === 0) return exposition;
    let shown = "";
    let written = 0;
    for (const { series, value, from, to } of counterLines(exposition)) {
      const base = this.#bases.get(series) ?? 0;
      // One that is smaller has begun anew.
      if (base === 0 || value < base) continue;
      shown += `${exposition.slice(written, from)}${series} ${value - base}`;
      written = to;
    }
    return shown + exposition.slice(written);
  }
}

interface CounterLine {
  readonly series: string;
  readonly value: number;
  /** Where the line stands, its end left out. */
  readonly from: number;
  readonly to: number;
}

function* counterLines(exposition: string): Generator<CounterLine> {
  let isCounter = false;
  for (let from = 0; from < exposition.length;) {
    const end = exposition.indexOf("\n", from);
    const to = end < 0 ? exposition.length : end;
    const line = exposition.slice(from, to);
    if (line.startsWith("# TYPE ")) isCounter = line.endsWith(" counter");
    else if (isCounter && line !== "" && !line.startsWith("#")) {
      const space = line.lastIndexOf(" ");
      yield { series: line.slice(0, space), value: Number(line.slice(space + 1)), from, to };
    }
    from = to + 1;
  }
}
