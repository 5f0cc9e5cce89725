/** Which Envoy `heddle up --proxy envoy` runs, and that it is one: said before anything is started. */
import { execFile } from "node:child_process";
import { resolve } from "node:path";

import { findProgram } from "../local/probe.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

/** What the end-to-end tests run. */
const testedVersion = "1.40";
const answerMaxMs = 10_000;

export interface EnvoyProgram {
  /** Absolute. */
  readonly path: string;
  /** A sentence about another version than the one that is tested. */
  readonly warning?: string;
}

/** `named` is what HEDDLE_ENVOY says; refuses, with what helps, where there is no Envoy to run. */
export async function findEnvoy(named: string | undefined, path: string): Promise<EnvoyProgram> {
  const found = named ?? findProgram("envoy", path);
  if (found === undefined) {
    const message = `there is no envoy on the PATH; install Envoy ${testedVersion} or name it with HEDDLE_ENVOY`;
    throw new CommandFailure(exitCodes.usage, message);
  }
  const program = resolve(found);
  const from = named === undefined ? "on the PATH" : "that HEDDLE_ENVOY names";
  const said = await versionOf(program).catch((thrown: unknown) => {
    const why = thrown instanceof Error ? thrown.message.split("\n")[0] : String(thrown);
    const message = `the envoy ${from} does not run: ${why}; install Envoy ${testedVersion}`;
    throw new CommandFailure(exitCodes.usage, message, { cause: thrown });
  });
  const version = /\bversion: \w+\/(\d+\.\d+)\.\d+/.exec(said)?.[1];
  if (version === undefined) {
    const message = `${program}, ${from}, is no Envoy: '--version' tells no version of it; install Envoy ${testedVersion}`;
    throw new CommandFailure(exitCodes.usage, message);
  }
  if (version === testedVersion) return { path: program };
  const warning = `this is Envoy ${version}; Heddle is tested with ${testedVersion}, and others may refuse what it sends`;
  return { path: program, warning };
}

async function versionOf(program: string): Promise<string> {
  return await new Promise((resolveText, reject) => {
    execFile(program, ["--version"], { timeout: answerMaxMs }, (error, stdout) => {
      if (error === null) resolveText(stdout);
      else reject(error);
    });
  });
}
