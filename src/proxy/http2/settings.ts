/** Http2ProtocolOptions of a connection manager as plain, decided values. */
import type { Http2ProtocolOptions } from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import type { HeadLimits } from "../../wire/http1-head.ts";
import { defaultFloodLimits } from "../../wire/http2-floods.ts";
import { initialWindow, windowMax } from "../../wire/http2-frames.ts";
import type { Http2Settings } from "../../wire/http2-session.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";

export interface Http2ServerSettings extends Http2Settings {
  /** A malformed request ends its stream alone, not its connection. */
  readonly resetsMalformed: boolean;
  /** Milliseconds between PINGs; 0 is none. */
  readonly pingMs: number;
  /** How long the answer to a PING may take. */
  readonly pingTimeoutMs: number;
  readonly allowsConnect: boolean;
  /** Between the first word of a farewell and the last. */
  readonly drainMs: number;
}

/**
 * Bytes that a stream, and a connection, may have under way. Smaller than Envoy's (16 and 24 MiB): what is
 * on its way to a slow upstream lies in our memory.
 */
const streamWindowDefault = 256 * 1024;
const connectionWindowDefault = 1024 * 1024;
const streamsMax = 2 ** 31 - 1;
const path = "http2_protocol_options";

export interface Http2SettingsContext {
  readonly limits: HeadLimits;
  /** Of the connection manager, for every protocol. */
  readonly resetsMalformed: boolean;
  readonly drainMs: number;
}

/** Throws a refusal that names the field. */
export function compileHttp2Settings(
  options: Http2ProtocolOptions | undefined,
  context: Http2SettingsContext,
): Http2ServerSettings {
  const keepalive = options?.connectionKeepalive;
  const window = (value: number | undefined, fallback: number, field: string): number => {
    if (value === undefined) return fallback;
    if (value < initialWindow || value > windowMax) {
      refuse(`${path}.${field}`, `must be between ${initialWindow} and ${windowMax}`);
    }
    return value;
  };
  const streams = options?.maxConcurrentStreams ?? 1024;
  if (streams < 1 || streams > streamsMax) {
    refuse(`${path}.max_concurrent_streams`, `must be between 1 and ${streamsMax}`);
  }
  return {
    maxConcurrentStreams: streams,
    streamWindow: window(
      options?.initialStreamWindowSize,
      streamWindowDefault,
      "initial_stream_window_size",
    ),
    connectionWindow: window(
      options?.initialConnectionWindowSize,
      connectionWindowDefault,
      "initial_connection_window_size",
    ),
    tableBytes: Math.min(options?.hpackTableSize ?? 4096, tableBytesMax),
    limits: context.limits,
    floods: floodLimits(options),
    resetsMalformed:
      options?.overrideStreamErrorOnInvalidHttpMessage ??
      (options?.streamErrorOnInvalidHttpMessaging === true || context.resetsMalformed),
    allowsConnect: options?.allowConnect === true,
    pingMs: durationMs(keepalive?.interval) ?? 0,
    pingTimeoutMs: durationMs(keepalive?.timeout) ?? 0,
    drainMs: context.drainMs,
  };
}

/** What a peer may make each connection keep; larger tables are not worth it. */
const tableBytesMax = 64 * 1024;

function floodLimits(options: Http2ProtocolOptions | undefined): Http2Settings["floods"] {
  const defaults = defaultFloodLimits;
  if (options === undefined) return defaults;
  return {
    emptyFramesMax: options.maxConsecutiveInboundFramesWithEmptyPayload ?? defaults.emptyFramesMax,
    priorityPerStreamMax:
      options.maxInboundPriorityFramesPerStream ?? defaults.priorityPerStreamMax,
    windowUpdatesPerDataMax:
      options.maxInboundWindowUpdateFramesPerDataFrameSent ?? defaults.windowUpdatesPerDataMax,
    controlFramesMax: options.maxOutboundControlFrames ?? defaults.controlFramesMax,
    outboundFramesMax: options.maxOutboundFrames ?? defaults.outboundFramesMax,
    resetsMax: defaults.resetsMax,
  };
}
