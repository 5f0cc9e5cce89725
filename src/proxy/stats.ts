/**
 * Turns the access loggers of a filter into one sink: files and streams, statistics. Called
 * when configuration is compiled; a logger that cannot be honoured refuses the configuration.
 *
 * Files are opened by whoever composes the proxy (`openLog`), spans are sent by `SpanSink`.
 */
import {
  honouredFileLog,
  honouredStatsLog,
  honouredStreamLog,
} from "./config/honoured-extensions.ts";
import { honoured } from "./config/honoured.ts";
import type { LineFormat } from "../telemetry/access-log-format.ts";
import type { AppendLines } from "../telemetry/batch-writer.ts";
import { LineBuffer } from "../telemetry/line-buffer.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { EntryType, RequestRecord, RequestSink } from "../telemetry/request-record.ts";
import type { PeerDirectory } from "../telemetry/standard-metrics.ts";
import type { AccessLog } from "../wire/gen/ts/envoy/config/accesslog/v3/accesslog.ts";
import { AccessLogType } from "../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { FileAccessLog } from "../wire/gen/ts/envoy/extensions/access_loggers/file/v3/file.ts";
import {
  HttpGrpcAccessLogConfig,
  TcpGrpcAccessLogConfig,
} from "../wire/gen/ts/envoy/extensions/access_loggers/grpc/v3/als.ts";
import { OpenTelemetryAccessLogConfig } from "../wire/gen/ts/envoy/extensions/access_loggers/open_telemetry/v3/logs_service.ts";
import { Config } from "../wire/gen/ts/envoy/extensions/access_loggers/stats/v3/stats.ts";
import {
  StderrAccessLog,
  StdoutAccessLog,
} from "../wire/gen/ts/envoy/extensions/access_loggers/stream/v3/stream.ts";
import type { LogOptions, ProxyContext } from "./context.ts";
import { refuse } from "./engine/refusal.ts";
import {
  compileHttpGrpcLog,
  compileOtlpLog,
  compileTcpGrpcLog,
  type EntryWriter,
} from "./stats/collector-loggers.ts";
import { compileFileFormat, compileLogFormat } from "./stats/file-logger.ts";
import { compileLogFilter, logTypesOf, type LogPredicate } from "./stats/log-filter.ts";
import { compileStatsLogger, type StatsCounting } from "./stats/stats-logger.ts";

export interface SinkOptions {
  readonly metrics: MetricRegistry;
  readonly peers: PeerDirectory;
  /** Takes lines for a file; `/dev/stdout` and `/dev/stderr` are the process's streams. */
  readonly openLog: (path: string) => AppendLines;
  /** Uniform in [0, 1), for filters that let a share through. */
  readonly random?: () => number;
  /** Of the data plane whose clusters have collectors; loggers that need one are refused without it. */
  readonly context?: () => ProxyContext;
}

/** `ProxyContext.sinkFor`. Throws a refusal for a logger that is not supported. */
export function createSinkCompiler(options: SinkOptions): ProxyContext["sinkFor"] {
  return (loggers, _statPrefix, told = {}) => {
    const entries = loggers.map((logger, i) => compileLogger(logger, `access_log[${i}]`, options));
    return new AccessLogSink(entries, told);
  };
}

/** One for all: a line is handed on as soon as it is made. */
const lineBuffer = new LineBuffer();

interface CompiledLogger {
  readonly matches: LogPredicate | undefined;
  readonly types: ReadonlySet<number> | undefined;
  readonly line: EntryWriter | undefined;
  readonly stats: StatsCounting | undefined;
}

function compileLogger(logger: AccessLog, path: string, options: SinkOptions): CompiledLogger {
  const matches =
    logger.filter === undefined
      ? undefined
      : compileLogFilter(logger.filter, `${path}.filter`, options.random ?? Math.random);
  const types = logTypesOf(logger.filter);
  const config = logger.typedConfig?.value ?? new Uint8Array(0);
  const typeName = logger.typedConfig?.typeUrl.split("/").at(-1) ?? "";
  const at = `${path}.typed_config`;
  const environment = options.context?.().environment;
  const toFile = (file: string, format: LineFormat): CompiledLogger => {
    const append = options.openLog(file);
    const line = (record: RequestRecord): void => {
      lineBuffer.clear();
      format(record, lineBuffer);
      append(lineBuffer.memory, lineBuffer.length);
    };
    return { matches, types, line, stats: undefined };
  };
  const toStream = (stream: string, log: StdoutAccessLog): CompiledLogger =>
    toFile(
      stream,
      compileLogFormat(honoured(log, honouredStreamLog, at).logFormat, at, environment),
    );
  switch (typeName) {
    case "envoy.extensions.access_loggers.file.v3.FileAccessLog": {
      const file = honoured(FileAccessLog.decode(config), honouredFileLog, at);
      return toFile(file.path, compileFileFormat(file, at, environment));
    }
    case "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog":
      return toStream("/dev/stdout", StdoutAccessLog.decode(config));
    case "envoy.extensions.access_loggers.stream.v3.StderrAccessLog":
      return toStream("/dev/stderr", StderrAccessLog.decode(config));
    case "envoy.extensions.access_loggers.stats.v3.Config":
      return {
        matches,
        types,
        line: undefined,
        stats: compileStatsLogger(
          honoured(Config.decode(config), honouredStatsLog, at),
          at,
          options,
        ),
      };
    default: {
      const line = compileCollectorLog(typeName, config, at, options);
      if (line !== undefined) return { matches, types, line, stats: undefined };
      return refuse(at, `${typeName || logger.name} is not supported`);
    }
  }
}

function compileCollectorLog(
  typeName: string,
  config: Uint8Array,
  at: string,
  { context }: SinkOptions,
): EntryWriter | undefined {
  if (context === undefined) return undefined;
  switch (typeName) {
    case "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig":
      return compileHttpGrpcLog(HttpGrpcAccessLogConfig.decode(config), at, context());
    case "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig":
      return compileTcpGrpcLog(TcpGrpcAccessLogConfig.decode(config), at, context());
    case "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig":
      return compileOtlpLog(OpenTelemetryAccessLogConfig.decode(config), at, context());
    default:
      return undefined;
  }
}

/** What was reported of a TCP connection before its end. */
interface TcpProgress {
  isOpenReported: boolean;
  bytesReceived: number;
  bytesSent: number;
}

/** Also to loggers that name no type. */
const toldToAll: ReadonlySet<AccessLogType> = new Set([
  AccessLogType.NotSet,
  AccessLogType.DownstreamStart,
  AccessLogType.DownstreamPeriodic,
  AccessLogType.DownstreamTunnelSuccessfullyEstablished,
  AccessLogType.DownstreamEnd,
  AccessLogType.TcpConnectionEnd,
  AccessLogType.UdpSessionEnd,
]);

class AccessLogSink implements RequestSink {
  readonly #loggers: readonly CompiledLogger[];
  readonly #tellsConnected: boolean;
  readonly #areListeners: boolean;
  readonly #progress = new WeakMap<RequestRecord, TcpProgress>();

  constructor(
    loggers: readonly CompiledLogger[],
    { tellsConnected = false, areListeners = false }: LogOptions,
  ) {
    this.#loggers = loggers;
    this.#tellsConnected = tellsConnected;
    this.#areListeners = areListeners;
  }

  onEnd(record: RequestRecord): void {
    if (this.#areListeners) {
      this.#runAs("NotSet", record);
      return;
    }
    if (record.kind !== "tcp") {
      const isHttp = record.kind === "http";
      this.#run(record, isHttp ? AccessLogType.DownstreamEnd : AccessLogType.UdpSessionEnd);
      return;
    }
    const progress = this.#progress.get(record);
    // One that never met its upstream is counted by the logger for such ends.
    if (progress?.isOpenReported !== true && record.upstreamHost !== undefined) {
      if (record.responseFlags === "") this.onConnected(record);
    }
    const { bytesReceived, bytesSent } = record;
    this.#run(record, AccessLogType.TcpConnectionEnd, progress);
    record.bytesReceived = bytesReceived;
    record.bytesSent = bytesSent;
  }

  onConnected(record: RequestRecord): void {
    const progress = this.#progressOf(record);
    if (progress.isOpenReported) return;
    progress.isOpenReported = true;
    this.#runAs("TcpUpstreamConnected", record);
  }

  /** Loggers that name no type of entry hear of these, too. */
  onMoment(record: RequestRecord, moment: EntryType): void {
    this.#runAs(moment, record);
  }

  onDatagrams(record: RequestRecord): void {
    this.#runAs("UdpPeriodic", record);
  }

  #runAs(type: EntryType, record: RequestRecord): void {
    record.entryType = type;
    this.#run(record, AccessLogType[type]);
    record.entryType = undefined;
  }

  /** Bytes count while the connection lives: each time what was added since the last time. */
  onProgress(record: RequestRecord): void {
    const progress = this.#progressOf(record);
    const { bytesReceived, bytesSent } = record;
    if (bytesReceived + bytesSent === progress.bytesReceived + progress.bytesSent) return;
    this.onConnected(record);
    record.bytesReceived -= progress.bytesReceived;
    record.bytesSent -= progress.bytesSent;
    for (const logger of this.#loggers) {
      if (
        logger.stats !== undefined &&
        logger.types?.has(AccessLogType.TcpConnectionEnd) === true
      ) {
        if (logger.matches?.(record, AccessLogType.TcpConnectionEnd) !== false) {
          logger.stats.countBytes(record);
        }
      }
    }
    record.bytesReceived = progress.bytesReceived = bytesReceived;
    record.bytesSent = progress.bytesSent = bytesSent;
  }

  #run(record: RequestRecord, type: AccessLogType, progress?: TcpProgress): void {
    const isTold = toldToAll.has(type);
    for (const logger of this.#loggers) {
      // As in Envoy: ends, and what the filter was told to log besides.
      const isWanted = logger.types?.has(type) ?? (isTold || this.#tellsConnected);
      if (!isWanted) continue;
      if (logger.matches?.(record, type) === false) continue;
      logger.line?.(record, type);
    }
    if (progress !== undefined) {
      record.bytesReceived -= progress.bytesReceived;
      record.bytesSent -= progress.bytesSent;
    }
    for (const logger of this.#loggers) {
      if (logger.stats === undefined) continue;
      if (logger.types === undefined ? !isTold : !logger.types.has(type)) continue;
      if (logger.matches?.(record, type) !== false) logger.stats.count(record);
    }
  }

  #progressOf(record: RequestRecord): TcpProgress {
    const known = this.#progress.get(record);
    if (known !== undefined) return known;
    const made = { isOpenReported: false, bytesReceived: 0, bytesSent: 0 };
    this.#progress.set(record, made);
    return made;
  }
}
