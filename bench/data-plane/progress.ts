/** Tells what was measured, and when the rest will be. */
export class Progress {
  readonly #tell: (line: string) => void;
  readonly #startMs = performance.now();
  #expectedS = 0;
  #passedS = 0;

  constructor(tell: (line: string) => void) {
    this.#tell = tell;
  }

  /** So many more seconds of load will come. */
  expect(seconds: number): void {
    this.#expectedS += seconds;
  }

  /** So many of them are over. */
  passed(seconds: number, what: string): void {
    this.#passedS += seconds;
    const elapsedS = (performance.now() - this.#startMs) / 1000;
    const leftS = (elapsedS / this.#passedS) * (this.#expectedS - this.#passedS);
    this.#tell(`[${clock(elapsedS)}, ${clock(Math.max(0, leftS))} left] ${what}`);
  }
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
