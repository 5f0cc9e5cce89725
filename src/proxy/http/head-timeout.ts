import type { HttpSettings } from "./settings.ts";

/** For a head to become whole, where the configuration names no time. */
const defaultMs = 60_000;

export function headTimeoutMs({ headersTimeoutMs }: HttpSettings): number {
  return headersTimeoutMs > 0 ? headersTimeoutMs : defaultMs;
}
