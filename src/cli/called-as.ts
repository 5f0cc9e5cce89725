/** How a command that is suggested must begin, so that it works when it is copied to the same terminal. */
import { findProgram } from "../local/probe.ts";

/**
 * `script` is what the launcher was started as, undefined without one. From a `PATH` the shell gives it
 * the file that it found there: then the name is enough.
 */
export function calledAs(script: string | undefined, path: string): string {
  if (script === undefined || findProgram("heddle", path) === script) return "heddle";
  return quoted(script);
}

/** A word as a POSIX shell must be given it. */
export function quoted(word: string): string {
  return /^[\w./@%+:,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
