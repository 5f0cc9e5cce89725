import { compileSearch } from "../engine/regex.ts";

export interface Stat {
  /** `name{label="value"}`. */
  readonly name: string;
  readonly value: number;
}

/** The series of a Prometheus exposition whose name, labels included, the filter finds. */
export function listStats(exposition: string, filter: string): readonly Stat[] {
  const isWanted = filter === "" ? () => true : compileSearch(filter, "filter");
  return exposition.split("\n").flatMap((line) => {
    if (line === "" || line.startsWith("#")) return [];
    const space = line.lastIndexOf(" ");
    const name = line.slice(0, space);
    return isWanted(name) ? [{ name, value: Number(line.slice(space + 1)) }] : [];
  });
}
