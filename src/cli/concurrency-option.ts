import { InvalidArgumentError, Option } from "commander";

/** More would share few cores, and each takes memory. */
const workersMax = 64;

/** `--concurrency`, or the environment's HEDDLE_CONCURRENCY: the same for every process of a test run. */
export function concurrencyOption(description: string): Option {
  return new Option("--concurrency <workers>", description)
    .argParser(parseConcurrency)
    .env("HEDDLE_CONCURRENCY");
}

function parseConcurrency(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 0 || count > workersMax) {
    throw new InvalidArgumentError(`a number from 0 to ${workersMax} is wanted.`);
  }
  return count;
}
