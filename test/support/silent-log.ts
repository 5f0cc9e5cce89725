import type { Logger } from "../../src/telemetry/logger.ts";

/** A logger that says nothing. */
export const silentLog: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  area: () => silentLog,
};
