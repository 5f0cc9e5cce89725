import { Option } from "commander";

/** `--io`, or the environment's HEDDLE_IO: the same choice for every process of a test run. */
export function ioOption(description: string): Option {
  return new Option("--io <backend>", description)
    .choices(["portable", "epoll", "auto"])
    .env("HEDDLE_IO");
}
