import { Option } from "commander";
import { dump } from "js-yaml";

export type OutputFormat = "table" | "json" | "yaml";

/** `-o table|json|yaml`, the same on every command. */
export function outputOption(): Option {
  return new Option("-o, --output <format>", "how to print the answer")
    .choices(["table", "json", "yaml"])
    .default("table");
}

/** Prints `value` for programs, or what `table` returns for people. */
export function print(format: OutputFormat, value: unknown, table: () => string): void {
  console.log(formatOutput(format, value, table));
}

export function formatOutput(format: OutputFormat, value: unknown, table: () => string): string {
  switch (format) {
    case "json":
      return JSON.stringify(value, undefined, 2);
    case "yaml":
      return toYaml(value);
    case "table":
      return table();
  }
}

export function toYaml(value: unknown): string {
  // Through JSON: what a program gets is the same in both formats, and `undefined` disappears.
  return dump(JSON.parse(JSON.stringify(value)), { lineWidth: 120, noRefs: true }).trimEnd();
}
