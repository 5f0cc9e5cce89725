/** Access loggers: Istio's file log, and the statistics loggers that make its standard metrics. */
import type { JsonObject } from "@bufbuild/protobuf";

import { istioJsonFormat, istioTextFormat } from "../../telemetry/access-log-format.ts";
import type {
  Reporter,
  StandardTag,
  StatsLogger,
  StatsLoggerFilter,
} from "../../telemetry/standard-metrics.ts";
import {
  standardHttpLoggers,
  standardTcpLoggers,
  statsScopeLimits,
  statsScopePrefix,
} from "../../telemetry/standard-metrics.ts";
import type {
  AccessLogFilterSchema,
  AccessLogSchema,
} from "../../wire/gen/es/envoy/config/accesslog/v3/accesslog_pb.ts";
import { AccessLogType } from "../../wire/gen/es/envoy/data/accesslog/v3/accesslog_pb.ts";
import { FileAccessLogSchema } from "../../wire/gen/es/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import {
  Config_Histogram_Unit,
  ConfigSchema,
  type Config_StatSchema,
} from "../../wire/gen/es/envoy/extensions/access_loggers/stats/v3/stats_pb.ts";
import { ExpressionFilterSchema } from "../../wire/gen/es/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.ts";
import {
  StderrAccessLogSchema,
  StdoutAccessLogSchema,
} from "../../wire/gen/es/envoy/extensions/access_loggers/stream/v3/stream_pb.ts";
import { peerLabelsOf } from "./metadata.ts";
import type { Init } from "./proto.ts";
import { typedConfig } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";

export type AccessLogInit = Init<typeof AccessLogSchema>;

/** Each attempt of a request whose connection failed for TLS, which a retry may have made good. */
export function attemptAccessLogs(view: ProxyView): AccessLogInit[] {
  return view.proxy.dataPlane === "envoy" ? [serverHandshakeLog()] : [];
}

export function httpAccessLogs(view: ProxyView, reporter: Reporter): AccessLogInit[] {
  const own = peerLabelsOf(view.proxy);
  return [...fileLog(view), ...standardHttpLoggers(reporter, own).map(statsLog)];
}

export function tcpAccessLogs(view: ProxyView, reporter: Reporter): AccessLogInit[] {
  const own = peerLabelsOf(view.proxy);
  // Connections are logged for metrics when they connect, too; the file gets one line for each.
  const file = fileLog(view, typeFilter(["TcpConnectionEnd"]));
  const stats = standardTcpLoggers(reporter, own).map(statsLog);
  // Inbound connections go to applications, without TLS.
  const isSource = reporter === "source" && view.proxy.dataPlane === "envoy";
  return [...file, ...stats, ...(isSource ? [serverHandshakeLog()] : [])];
}

/** For listeners: connections that no filter chain takes, which no other log sees. */
export function listenerAccessLogs(view: ProxyView): AccessLogInit[] {
  const unmatched: FilterInit = {
    filterSpecifier: { case: "responseFlagFilter", value: { flags: ["NR"] } },
  };
  const failures =
    view.proxy.dataPlane === "envoy"
      ? [
          refusalLog("no filter chain takes this connection", unmatched),
          refusalLog("a TLS handshake with a client failed", failedHandshake),
        ]
      : [];
  return [...fileLog(view, unmatched), ...failures];
}

/** Heddle's proxy logs these itself; Envoy says why a handshake failed in access logs alone. */
const failedHandshake = celFilter("connection.transport_failure_reason != ''");

function celFilter(expression: string): Init<typeof AccessLogFilterSchema> {
  const name = "envoy.access_loggers.extension_filters.cel";
  const configType = typedConfig(ExpressionFilterSchema, { expression });
  return { filterSpecifier: { case: "extensionFilter", value: { name, configType } } };
}

function refusalLog(message: string, filter: FilterInit): AccessLogInit {
  return lineLog(
    `${message}: peer=%DOWNSTREAM_REMOTE_ADDRESS% ` +
      "destination=%DOWNSTREAM_LOCAL_ADDRESS% sni=%REQUESTED_SERVER_NAME% " +
      "presented=%DOWNSTREAM_PEER_URI_SAN% expires=%DOWNSTREAM_PEER_CERT_V_END% " +
      "reason=%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    filter,
  );
}

/** Envoy keeps no more of a server whose handshake failed: its reason has BoringSSL's words. */
function serverHandshakeLog(): AccessLogInit {
  return lineLog(
    "a TLS handshake with a server failed: peer=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% " +
      "presented=%UPSTREAM_PEER_URI_SAN% expires=%UPSTREAM_PEER_CERT_V_END% " +
      "reason=%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    celFilter("upstream.transport_failure_reason.contains('TLS')"),
  );
}

/** A line of Envoy's own log, in the form its agent reads: level, logger and text between tabs. */
function lineLog(line: string, filter: FilterInit): AccessLogInit {
  const text = `warning\thandshake\t${line}\n`;
  const logFormat = {
    format: {
      case: "textFormatSource",
      value: { specifier: { case: "inlineString", value: text } },
    },
  } as const;
  const configType = typedConfig(StderrAccessLogSchema, {
    accessLogFormat: { case: "logFormat", value: logFormat },
  });
  return { name: "envoy.access_loggers.stderr", filter, configType };
}

type FilterInit = Init<typeof AccessLogFilterSchema>;

function fileLog(view: ProxyView, filter?: FilterInit): AccessLogInit[] {
  const { accessLogFile, accessLogEncoding, accessLogFormat } = view.model.settings;
  if (accessLogFile === undefined || accessLogFile === "") return [];
  const logFormat =
    accessLogEncoding === "JSON"
      ? ({ format: { case: "jsonFormat", value: jsonFormat(accessLogFormat) } } as const)
      : ({
          format: {
            case: "textFormatSource",
            value: {
              specifier: { case: "inlineString", value: accessLogFormat ?? istioTextFormat },
            },
          },
        } as const);
  const filters = filter === undefined ? {} : { filter };
  if (accessLogFile === "/dev/stdout") {
    // As a file it could not be opened where standard output is a socket.
    const configType = typedConfig(StdoutAccessLogSchema, {
      accessLogFormat: { case: "logFormat", value: logFormat },
    });
    return [{ name: "envoy.access_loggers.stdout", ...filters, configType }];
  }
  return [
    {
      name: "envoy.access_loggers.file",
      ...filters,
      configType: typedConfig(FileAccessLogSchema, {
        path: accessLogFile,
        accessLogFormat: { case: "logFormat", value: logFormat },
      }),
    },
  ];
}

/** A written JSON format is an object of formats; anything else falls back to Istio's. */
function jsonFormat(written: string | undefined): JsonObject {
  if (written === undefined) return istioJsonFormat;
  try {
    const parsed: unknown = JSON.parse(written);
    return isJsonObject(parsed) ? parsed : istioJsonFormat;
  } catch {
    return istioJsonFormat;
  }
}

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function statsLog(logger: StatsLogger): AccessLogInit {
  return {
    name: "envoy.access_loggers.stats",
    filter: statsFilter(logger.filter),
    configType: typedConfig(ConfigSchema, {
      statsScope: {
        prefix: statsScopePrefix,
        maxCounters: statsScopeLimits.maxCounters,
        maxHistograms: statsScopeLimits.maxHistograms,
        enableEviction: true,
      },
      counters: logger.counters.map(({ name, tags, value }) => ({
        stat: stat(name, tags),
        ...(value === 1 ? { valueFixed: 1n } : { valueFormat: value }),
      })),
      histograms: logger.histograms.map(({ name, tags, unit, valueFormat }) => ({
        stat: stat(name, tags),
        unit: Config_Histogram_Unit[unit],
        valueFormat,
      })),
    }),
  };
}

function stat(name: string, tags: readonly StandardTag[]): Init<typeof Config_StatSchema> {
  return { name, tags: tags.map((tag) => ({ name: tag.name, valueFormat: tag.format })) };
}

function statsFilter(filter: StatsLoggerFilter): FilterInit {
  const parts: FilterInit[] = [];
  if (filter.logTypes !== undefined) parts.push(typeFilter(filter.logTypes));
  if (filter.responseFlags !== undefined) {
    const flags = [...filter.responseFlags];
    parts.push({ filterSpecifier: { case: "responseFlagFilter", value: { flags } } });
  }
  if (filter.headerPrefix !== undefined) {
    const { name, prefix } = filter.headerPrefix;
    const header = {
      name,
      headerMatchSpecifier: {
        case: "stringMatch",
        value: { matchPattern: { case: "prefix", value: prefix } },
      },
    } as const;
    parts.push({ filterSpecifier: { case: "headerFilter", value: { header } } });
  }
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  return { filterSpecifier: { case: "andFilter", value: { filters: parts } } };
}

function typeFilter(names: readonly string[]): FilterInit {
  const types = names.map((name) => AccessLogType[accessLogType(name)]);
  return { filterSpecifier: { case: "logTypeFilter", value: { types } } };
}

function accessLogType(name: string): keyof typeof AccessLogType {
  return name in AccessLogType ? (name as keyof typeof AccessLogType) : "NotSet";
}
