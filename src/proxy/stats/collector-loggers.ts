/**
 * Access loggers whose entries go to a collector: Envoy's access-log service (`http_grpc`, `tcp_grpc`)
 * and OpenTelemetry's logs, over gRPC or HTTP. Entries wait in bounded queues: a request is never slower
 * for a collector that is.
 */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { KeyValueList } from "../../wire/gen/ts/opentelemetry/proto/common/v1/common.ts";
import { ApiVersion } from "../../wire/gen/ts/envoy/config/core/v3/config_source.ts";
import { Node } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { AccessLogType } from "../../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import {
  CommonGrpcAccessLogConfig as CommonConfig,
  HttpGrpcAccessLogConfig,
  TcpGrpcAccessLogConfig,
} from "../../wire/gen/ts/envoy/extensions/access_loggers/grpc/v3/als.ts";
import { OpenTelemetryAccessLogConfig } from "../../wire/gen/ts/envoy/extensions/access_loggers/open_telemetry/v3/logs_service.ts";
import { StreamAccessLogsMessage_Identifier as Identifier } from "../../wire/gen/ts/envoy/service/accesslog/v3/als.ts";
import { honoured, type Honoured } from "../config/honoured.ts";
import type { ProxyContext } from "../context.ts";
import { refuseUnknownFormatter } from "../engine/body-format.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";
import {
  Kept,
  postsOverGrpc,
  postsOverHttp,
  reportMemory,
  streamsOverGrpc,
} from "../http/collectors.ts";
import { compileGrpcTarget } from "../http/grpc-target.ts";
import { compileHttpTarget } from "../http/http-target.ts";
import { formatExtensions } from "./file-logger.ts";
import { encodeHttpEntry, encodeTcpEntry, type EntryPlan } from "./grpc-log-entry.ts";
import { GrpcLog } from "./grpc-log.ts";
import { compileAttributes, compileBody, OtlpLogs } from "./otlp-logs.ts";
import { type PostBatch, ReportQueue } from "./report-queue.ts";
import { compileTags } from "./span-tags.ts";

/** Told of one entry; must not throw and keeps nothing of the record. */
export type EntryWriter = (record: RequestRecord, type: AccessLogType) => void;

const flushDefaultMs = 1000;
const batchBytesDefault = 16_384;
const alsPath = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const otlpPath = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const honouredCommon: Honoured<CommonConfig> = {
  logName: true,
  grpcService: true,
  transportApiVersion: true,
  bufferFlushInterval: true,
  bufferSizeBytes: true,
  filterStateObjectsToLog: true,
  customTags: true,
};

const honouredHttp: Honoured<HttpGrpcAccessLogConfig> = {
  commonConfig: honouredCommon,
  additionalRequestHeadersToLog: true,
  additionalResponseHeadersToLog: true,
  additionalResponseTrailersToLog: true,
};

const honouredTcp: Honoured<TcpGrpcAccessLogConfig> = { commonConfig: honouredCommon };

const honouredOtlp: Honoured<OpenTelemetryAccessLogConfig> = {
  // Of the older form: the rest stands beside it.
  commonConfig: {
    logName: true,
    grpcService: true,
    transportApiVersion: true,
    bufferSizeBytes: "absent",
  },
  httpService: true,
  grpcService: true,
  disableBuiltinLabels: true,
  resourceAttributes: true,
  body: true,
  attributes: true,
  // Of Envoy's series for this log.
  statPrefix: true,
  formatters: true,
  logName: true,
  bufferFlushInterval: true,
  bufferSizeBytes: true,
  filterStateObjectsToLog: true,
  customTags: true,
};

const grpcLogs = new Kept<GrpcLog>();
const otlpLogs = new Kept<ReportQueue<RequestRecord>>();

export function compileHttpGrpcLog(
  config: HttpGrpcAccessLogConfig,
  path: string,
  context: ProxyContext,
): EntryWriter {
  honoured(config, honouredHttp, path);
  const common = commonOf(config.commonConfig, `${path}.common_config`);
  const plan: EntryPlan = {
    ...entryPlan(common, `${path}.common_config`, context),
    requestHeaders: config.additionalRequestHeadersToLog.map(lowerAscii),
    responseHeaders: config.additionalResponseHeadersToLog.map(lowerAscii),
    responseTrailers: config.additionalResponseTrailersToLog.map(lowerAscii),
  };
  const log = openGrpcLog("http", common, `${path}.common_config`, context);
  return (record, type) => log.add(encodeHttpEntry(record, type, plan));
}

export function compileTcpGrpcLog(
  config: TcpGrpcAccessLogConfig,
  path: string,
  context: ProxyContext,
): EntryWriter {
  honoured(config, honouredTcp, path);
  const common = commonOf(config.commonConfig, `${path}.common_config`);
  const plan = entryPlan(common, `${path}.common_config`, context);
  const log = openGrpcLog("tcp", common, `${path}.common_config`, context);
  return (record, type) => log.add(encodeTcpEntry(record, type, plan));
}

function commonOf(config: CommonConfig | undefined, path: string): CommonConfig {
  if (config === undefined) return refuse(path, "is required");
  if (config.logName === "") refuse(`${path}.log_name`, "is required");
  checkVersion(config, path);
  return config;
}

function checkVersion({ transportApiVersion }: CommonConfig, path: string): void {
  if (transportApiVersion !== ApiVersion.V3) refuse(`${path}.transport_api_version`, "must be V3");
}

function entryPlan(
  { customTags, filterStateObjectsToLog }: CommonConfig,
  path: string,
  { environment }: ProxyContext,
): EntryPlan {
  return {
    customTags: compileTags(customTags, `${path}.custom_tags`, environment),
    filterStates: filterStateObjectsToLog,
    requestHeaders: [],
    responseHeaders: [],
    responseTrailers: [],
  };
}

function openGrpcLog(
  kind: "http" | "tcp",
  config: CommonConfig,
  path: string,
  context: ProxyContext,
): GrpcLog {
  const target = {
    ...compileGrpcTarget(config.grpcService, `${path}.grpc_service`),
    path: alsPath,
  };
  const { logName } = config;
  const flushAfterMs = durationMs(config.bufferFlushInterval) ?? flushDefaultMs;
  const batchBytes = config.bufferSizeBytes ?? batchBytesDefault;
  const key = JSON.stringify([kind, logName, target, flushAfterMs, batchBytes]);
  return grpcLogs.get(context, key, () => {
    const count = (which: string) =>
      context.metrics.counter(
        `envoy_access_logs_grpc_access_log_logs_${which}`,
        "Entries of access logs for a collector, by what became of them",
      );
    return new GrpcLog({
      clock: context.clock,
      kind,
      identifier: Identifier.encode({ logName, node: nodeOf(context) }).finish(),
      flushAfterMs,
      batchBytes,
      memory: reportMemory(context),
      written: count("written"),
      dropped: count("dropped"),
      open: streamsOverGrpc(context, target, "access logs"),
    });
  });
}

function nodeOf({ node }: ProxyContext): Node {
  return Node.fromPartial({
    id: node?.id ?? "",
    cluster: node?.cluster ?? "",
    metadata: { ...node?.metadata },
    userAgentName: "heddle",
  });
}

const entriesMax = 16_384;
const waitingBytesMax = 1024 * 1024;

export function compileOtlpLog(
  config: OpenTelemetryAccessLogConfig,
  path: string,
  context: ProxyContext,
): EntryWriter {
  honoured(config, honouredOtlp, path);
  config.formatters.forEach((one, i) => refuseUnknownFormatter(one, `${path}.formatters[${i}]`));
  const formats = formatExtensions(context.environment);
  const plan = {
    body: compileBody(config.body, `${path}.body`, formats),
    attributes: compileAttributes(config.attributes, `${path}.attributes`, formats),
    customTags: compileTags(config.customTags, `${path}.custom_tags`, context.environment),
    filterStates: config.filterStateObjectsToLog,
    resource: resourceOf(config, path, context),
  };
  const post = otlpPost(config, path, context);
  const key = Buffer.from(OpenTelemetryAccessLogConfig.encode(config).finish()).toString("base64");
  const flushAfterMs = durationMs(config.bufferFlushInterval) ?? flushDefaultMs;
  const batchBytes = Math.max(1, config.bufferSizeBytes ?? batchBytesDefault);
  const log = otlpLogs.get(
    context,
    key,
    () =>
      new ReportQueue({
        clock: context.clock,
        encoding: new OtlpLogs(plan),
        flushAfterMs: Math.max(1, flushAfterMs),
        batchReports: entriesMax,
        batchBytes,
        pendingReportsMax: entriesMax,
        pendingBytesMax: Math.max(batchBytes, waitingBytesMax),
        memory: reportMemory(context),
        post,
        count: (outcome, entries) => {
          const help = "Entries of access logs for OpenTelemetry, by what became of them.";
          context.metrics.counter("heddle_otlp_logs_total", help, { outcome }).add(entries);
        },
      }),
  );
  return (record) => log.add(record);
}

function otlpPost(
  { httpService, grpcService, commonConfig }: OpenTelemetryAccessLogConfig,
  path: string,
  context: ProxyContext,
): PostBatch {
  const older = commonConfig?.grpcService;
  if (httpService !== undefined || grpcService !== undefined) {
    if (older !== undefined) refuse(`${path}.common_config.grpc_service`, "is named beside it");
  }
  if (httpService !== undefined) {
    if (grpcService !== undefined) refuse(`${path}.http_service`, "excludes grpc_service");
    const to = compileHttpTarget(httpService, "application/x-protobuf", `${path}.http_service`);
    return postsOverHttp(context, to, "access logs");
  }
  if (grpcService === undefined && commonConfig !== undefined) {
    checkVersion(commonConfig, `${path}.common_config`);
  }
  const service = grpcService ?? older;
  const place =
    grpcService === undefined ? `${path}.common_config.grpc_service` : `${path}.grpc_service`;
  const target = { ...compileGrpcTarget(service, place), path: otlpPath };
  return postsOverGrpc(context, target, { what: "access logs" });
}

function resourceOf(
  config: OpenTelemetryAccessLogConfig,
  path: string,
  { node }: ProxyContext,
): readonly (readonly [string, string])[] {
  const resource = new Map<string, string>();
  if (!config.disableBuiltinLabels) {
    resource.set("log_name", config.logName || (config.commonConfig?.logName ?? ""));
    resource.set("zone_name", node?.zone ?? "");
    resource.set("cluster_name", node?.cluster ?? "");
    resource.set("node_name", node?.id ?? "");
  }
  for (const [key, value] of plainAttributes(config.resourceAttributes, path)) {
    resource.set(key, value);
  }
  return [...resource];
}

function plainAttributes(
  list: KeyValueList | undefined,
  path: string,
): readonly (readonly [string, string])[] {
  return (list?.values ?? []).map(({ key, value }, i): readonly [string, string] => {
    const text = value?.stringValue;
    if (text !== undefined) return [key, text];
    return refuse(`${path}.resource_attributes.values[${i}].value`, "only texts are supported");
  });
}
