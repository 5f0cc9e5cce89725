/**
 * What becomes of the answers that the proxy gives itself (`local_reply_config`): the first mapper
 * whose filter passes may change status, body and headers, and a format makes the body.
 */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { AccessLogType } from "../../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import type {
  LocalReplyConfig,
  ResponseMapper,
} from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { type BodyFormat, compileBodyFormat } from "../engine/body-format.ts";
import { compileHeaderEdit, type HeaderEdit } from "../engine/header-edit.ts";
import { compileAdditions } from "../engine/header-operations.ts";
import { refuse } from "../engine/refusal.ts";
import { tooCostly } from "../engine/regex-substitution.ts";
import type { RouteOutcome } from "../engine/route-table.ts";
import { extensions } from "../stats/file-logger.ts";
import { compileLogFilter, type LogPredicate } from "../stats/log-filter.ts";
import type { FailureKind } from "./failure.ts";
import type { ReplyChanges } from "./filter.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";

/** An answer before it is written; `body` is one byte per unit. */
export interface OwnReply {
  status: number;
  body: string;
  contentType: string;
}

interface Mapper {
  readonly matches: LogPredicate;
  readonly status: number | undefined;
  readonly body: string | undefined;
  readonly format: BodyFormat | undefined;
  readonly editHeaders: HeaderEdit | undefined;
}

export class LocalReplies {
  readonly #mappers: readonly Mapper[];
  readonly #format: BodyFormat | undefined;

  constructor(config: LocalReplyConfig, path: string, random: () => number) {
    this.#mappers = config.mappers.map((mapper, i) =>
      compileMapper(mapper, `${path}.mappers[${i}]`, random),
    );
    const { bodyFormat } = config;
    this.#format =
      bodyFormat === undefined
        ? undefined
        : compileBodyFormat(bodyFormat, `${path}.body_format`, extensions);
  }

  /** Changes an answer of our own; the record says what is known of it already. */
  rewrite(
    reply: OwnReply,
    record: RequestRecord,
    message: { readonly headers: MessageHeaders; readonly request: HttpRequest },
  ): void {
    record.responseCode = reply.status;
    const mapper = this.#mappers.find(({ matches }) => matches(record, AccessLogType.NotSet));
    if (mapper?.body !== undefined) reply.body = mapper.body;
    mapper?.editHeaders?.(message.headers, message.request);
    if (mapper?.status !== undefined) {
      reply.status = mapper.status;
      record.responseCode = mapper.status;
    }
    const format = mapper?.format ?? this.#format;
    if (format === undefined) return;
    reply.body = written(format, record, reply.body);
    reply.contentType = format.contentType;
  }
}

/** Where a route sends a client: what filters took out of the request is not told. */
export function redirectReply(
  { status, location }: RouteOutcome & { readonly kind: "redirect" },
  request: HttpRequest,
): readonly [FailureKind | "direct", ReplyChanges] {
  const target = location(request);
  if (target === tooCostly) return ["rewrite-too-costly", {}];
  const headers: ReplyChanges["headers"] = target === undefined ? [] : [["location", target]];
  return ["direct", { status, speaksGrpc: true, headers }];
}

/** What a route answers itself. */
export function directReply(
  { status, body, format }: RouteOutcome & { readonly kind: "direct-response" },
  record: RequestRecord,
  { scheme, authority, path }: HttpRequest,
): ReplyChanges {
  const text = Buffer.from(body).toString("latin1");
  const headers: [name: string, value: string][] = [];
  // As Envoy does: what such an answer points to is where it was asked for, but for what filters changed.
  if (path !== "" && (status === 201 || (status >= 300 && status < 400))) {
    headers.push(["location", `${scheme}://${authority}${path}`]);
  }
  if (format === undefined) return { status, body: text, speaksGrpc: true, headers };
  headers.push(["content-type", format.contentType]);
  return { status, body: written(format, record, text), speaksGrpc: true, headers };
}

/** Takes and gives one byte per unit. */
function written(format: BodyFormat, record: RequestRecord, body: string): string {
  const text = format.write(record, Buffer.from(body, "latin1").toString("utf8"));
  return Buffer.from(text).toString("latin1");
}

function compileMapper(mapper: ResponseMapper, path: string, random: () => number): Mapper {
  const { filter, statusCode, body, bodyFormatOverride } = mapper;
  if (filter === undefined) return refuse(`${path}.filter`, "is required");
  if (statusCode !== undefined && (statusCode < 200 || statusCode > 599)) {
    refuse(`${path}.status_code`, `${statusCode} is no final status`);
  }
  return {
    matches: compileLogFilter(filter, `${path}.filter`, random),
    status: statusCode,
    body: body === undefined ? undefined : bytesOf(body, `${path}.body`),
    format:
      bodyFormatOverride === undefined
        ? undefined
        : compileBodyFormat(bodyFormatOverride, `${path}.body_format_override`, extensions),
    editHeaders: compileHeaderEdit(compileAdditions(mapper.headersToAdd, `${path}.headers_to_add`)),
  };
}

function bytesOf({ inlineString, inlineBytes }: DataSource, path: string): string {
  if (inlineString !== undefined) return Buffer.from(inlineString).toString("latin1");
  if (inlineBytes !== undefined) return Buffer.from(inlineBytes).toString("latin1");
  return refuse(path, "only inline content is supported here");
}
