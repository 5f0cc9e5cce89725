/**
 * Writes the log: one line per event as `time level area message key=value…`, or the same as JSON.
 * Levels are set per area while the process runs. Where lines go is handed in (`LogSink`); a sink
 * that cannot keep up drops and counts, it never blocks. The access log is a stream of its own.
 */
import type { Clock } from "../base/clock.ts";
import type { LogFields, Logger, LogLevel } from "./logger.ts";

/** Takes whole lines, newline included. */
export type LogSink = (line: string) => void;

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  readonly clock: Clock;
  readonly sink: LogSink;
}

/** The log of a process, with its levels. */
export interface Log extends Logger {
  /** For one area, or for every area (which forgets single settings). */
  setLevel(level: LogLevel, area?: string): void;
  /** Areas that have logged or were set, with their level. */
  levels(): ReadonlyMap<string, LogLevel>;
}

const ranks: { readonly [Level in LogLevel]: number } = { error: 0, warn: 1, info: 2, debug: 3 };

/** The parser of level names from outside. */
export function parseLogLevel(text: string): LogLevel | undefined {
  return text === "error" || text === "warn" || text === "info" || text === "debug"
    ? text
    : undefined;
}

export function createLog(options: LogOptions): Log {
  const { clock, sink, format } = options;
  const rootArea = "heddle";
  const areas = new Map<string, AreaLevel>();
  let defaultLevel = options.level;
  const levelOf = (name: string): AreaLevel => {
    const known = areas.get(name);
    if (known !== undefined) return known;
    const made = { level: defaultLevel, rank: ranks[defaultLevel] };
    areas.set(name, made);
    return made;
  };
  const writeLine = format === "json" ? formatJsonLine : formatTextLine;
  const loggerFor = (name: string): Logger => {
    const threshold = levelOf(name);
    const log = (level: LogLevel, message: string, fields: LogFields = {}): void => {
      if (ranks[level] > threshold.rank) return;
      sink(writeLine({ atMs: clock.nowMs(), level, area: name, message, fields }));
    };
    return {
      error: (message, fields) => log("error", message, fields),
      warn: (message, fields) => log("warn", message, fields),
      info: (message, fields) => log("info", message, fields),
      debug: (message, fields) => log("debug", message, fields),
      area: loggerFor,
    };
  };
  return {
    ...loggerFor(rootArea),
    setLevel(level, area) {
      const concerned = area === undefined ? [...areas.values()] : [levelOf(area)];
      if (area === undefined) defaultLevel = level;
      for (const entry of concerned) {
        entry.level = level;
        entry.rank = ranks[level];
      }
    },
    levels: () => new Map([...areas].map(([name, entry]) => [name, entry.level])),
  };
}

interface AreaLevel {
  level: LogLevel;
  rank: number;
}

interface LogEvent {
  readonly atMs: number;
  readonly level: LogLevel;
  readonly area: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** Longer field values are cut: a peer must not fill the disk with one header. */
const fieldCharsMax = 2000;

function formatTextLine({ atMs, level, area, message, fields }: LogEvent): string {
  let line = `${new Date(atMs).toISOString()} ${level} ${area} ${message}`;
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) line += ` ${key}=${formatTextValue(value)}`;
  }
  return `${line}\n`;
}

function formatTextValue(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  const text = cut(value);
  return text !== "" && /^[\w.:/@|,+*[\]~%-]+$/.test(text) ? text : JSON.stringify(text);
}

function formatJsonLine({ atMs, level, area, message, fields }: LogEvent): string {
  const event: Record<string, unknown> = { time: new Date(atMs).toISOString(), level, area };
  event["message"] = message;
  for (const [key, value] of Object.entries(fields)) {
    event[key in event ? `field_${key}` : key] = typeof value === "string" ? cut(value) : value;
  }
  return `${JSON.stringify(event)}\n`;
}

function cut(text: string): string {
  return text.length > fieldCharsMax ? `${text.slice(0, fieldCharsMax)}…` : text;
}
