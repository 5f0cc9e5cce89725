/** A bug to put into a codec: a change to the text of one of its files. */
import type { SourceEdit } from "./instrument.ts";

export interface SeededBug {
  readonly name: string;
  readonly edit: SourceEdit;
}

export function bug(
  name: string,
  ...[file, from, to]: [file: string, from: string, to: string]
): SeededBug {
  return { name, edit: { file: `src/wire/${file}.ts`, from, to } };
}
