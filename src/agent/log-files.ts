/**
 * Where log lines go: the process's streams and files, through one bounded `BatchWriter` for each.
 * A full disk or a pipe nobody reads costs lines, which are counted, never time.
 */
import { closeSync, write, writeSync } from "node:fs";

import type { Clock } from "../base/clock.ts";
import { type AppendLines, BatchWriter, type WriteOutcome } from "../telemetry/batch-writer.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { openLogDescriptor } from "./log-descriptor.ts";

export interface LogFiles {
  /** `-` and `/dev/stdout` are standard output, `/dev/stderr` standard error. */
  open(path: string): AppendLines;
  /** The same for lines that are text. */
  openText(path: string): (lines: string) => void;
  /** Opens every file by its name again: what was rotated away gets no more lines. */
  reopen(): void;
  /** Waits a second at most for what is being written, writes what is left, and closes. */
  close(): Promise<void>;
}

export function openLogFiles(clock: Clock, metrics: MetricRegistry): LogFiles {
  const writers = new Map<string, OpenFile>();
  const files: LogFiles = {
    open(path) {
      const known = writers.get(streamName(path));
      if (known !== undefined) return known.writer.append;
      const file = { fd: openLogDescriptor(path) };
      const writer = new BatchWriter({
        clock,
        write: (bytes, done) =>
          write(file.fd, bytes, 0, bytes.length, null, onWritten(bytes, done)),
        onDrop: (lines, reason) =>
          metrics
            .counter("heddle_log_lines_dropped_total", "Log lines that were lost.", {
              file: path,
              reason,
            })
            .add(lines),
      });
      writers.set(streamName(path), { writer, file });
      return writer.append;
    },
    openText(path) {
      const append = files.open(path);
      return (lines) => {
        const bytes = Buffer.from(lines);
        append(bytes, bytes.length);
      };
    },
    reopen() {
      for (const [path, { writer, file }] of writers) {
        const { fd } = file;
        if (fd <= 2) continue;
        file.fd = openLogDescriptor(path);
        // A write may be under way: it ends where it began.
        writer.flush(() => closeSync(fd));
      }
    },
    async close() {
      // What a thread is writing at this moment would be written once more.
      await Promise.all([...writers.values()].map(({ writer }) => written(writer, clock)));
      for (const { writer, file } of writers.values()) {
        const { fd } = file;
        writeRest(fd, writer.close());
        if (fd > 2) closeSync(fd);
      }
      writers.clear();
    },
  };
  return files;
}

interface OpenFile {
  readonly writer: BatchWriter;
  readonly file: { fd: number };
}

const closeMaxMs = 1000;

/** Resolves when all that was appended is written, or when that takes too long: a pipe that nobody reads. */
async function written(writer: BatchWriter, clock: Clock): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = clock.schedule(closeMaxMs, resolve);
  writer.flush(resolve);
  await promise;
  timer.cancel();
}

function streamName(path: string): string {
  return path === "-" ? "/dev/stdout" : path;
}

function onWritten(
  bytes: Buffer,
  done: (outcome: WriteOutcome) => void,
): (error: NodeJS.ErrnoException | null, writtenBytes: number) => void {
  return (error, writtenBytes) => {
    if (error?.code === "EAGAIN") done({ kind: "busy", writtenBytes: 0 });
    else if (error !== null) done({ kind: "failed", message: error.message });
    else if (writtenBytes < bytes.length) done({ kind: "busy", writtenBytes });
    else done({ kind: "written" });
  };
}

function writeRest(fd: number, rest: Buffer): void {
  let offset = 0;
  for (let attempt = 0; offset < rest.length && attempt < 100; attempt++) {
    try {
      offset += writeSync(fd, rest, offset);
    } catch {
      return; // closing: there is nobody left to tell
    }
  }
}
