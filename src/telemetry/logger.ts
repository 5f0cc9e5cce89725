/**
 * One structured line per event. `message` is a constant sentence; what varies is a field. error =
 * someone must act, warn = degraded but serving, info = state changed, debug = per connection;
 * nothing per request (the access log is a stream of its own).
 */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** The same log, for a named part: `xds`, `listener`, `ca`. */
  area(name: string): Logger;
}

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export type LogLevel = "error" | "warn" | "info" | "debug";
