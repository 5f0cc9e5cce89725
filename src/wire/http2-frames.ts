/** The numbers of HTTP/2 (RFC 9113 sections 4, 6 and 7), and what each violation of it means. */

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const frameFlag = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 };

export const setting = {
  headerTableBytes: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindow: 4,
  maxFrameBytes: 5,
  maxHeadBytes: 6,
  enableConnectProtocol: 8,
} as const;

export const errorCode = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  connect: 10,
  enhanceYourCalm: 11,
} as const;

export const frameHeadBytes = 9;
/** What is sent and taken: nobody has to take more (RFC 9113 section 4.2). */
export const frameBytesMax: number = 16 * 1024;
export const initialWindow = 65_535;
export const windowMax: number = 2 ** 31 - 1;
export const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export type Violation =
  | "preface"
  | "first-frame"
  | "frame-too-large"
  | "frame-length"
  | "stream-zero"
  | "stream-not-zero"
  | "stream-id"
  | "idle-stream"
  | "closed-stream"
  | "half-closed-stream"
  | "padding"
  | "header-block"
  | "interrupted-block"
  | "lost-continuation"
  | "push"
  | "settings-value"
  | "settings-window"
  | "connection-window"
  | "connection-window-overflow"
  | "stream-window"
  | "stream-window-overflow"
  | "connection-window-zero"
  | "stream-window-zero"
  | "priority-length"
  | "self-dependency"
  | "trailers-without-end"
  | "malformed"
  | "content-length"
  | "head-limit";

export interface ViolationMeaning {
  readonly code: number;
  /** What ends: everything, or one stream. */
  readonly scope: "connection" | "stream";
}

function connection(code: number): ViolationMeaning {
  return { code, scope: "connection" };
}

function stream(code: number): ViolationMeaning {
  return { code, scope: "stream" };
}

/** RFC 9113: the section that forbids it says what its error is. */
export const violations: { readonly [Kind in Violation]: ViolationMeaning } = {
  preface: connection(errorCode.protocol),
  "first-frame": connection(errorCode.protocol),
  "frame-too-large": connection(errorCode.frameSize),
  "frame-length": connection(errorCode.frameSize),
  "stream-zero": connection(errorCode.protocol),
  "stream-not-zero": connection(errorCode.protocol),
  "stream-id": connection(errorCode.protocol),
  "idle-stream": connection(errorCode.protocol),
  "closed-stream": connection(errorCode.streamClosed),
  "half-closed-stream": stream(errorCode.streamClosed),
  padding: connection(errorCode.protocol),
  "header-block": connection(errorCode.compression),
  "interrupted-block": connection(errorCode.protocol),
  "lost-continuation": connection(errorCode.protocol),
  push: connection(errorCode.protocol),
  "settings-value": connection(errorCode.protocol),
  "settings-window": connection(errorCode.flowControl),
  "connection-window": connection(errorCode.flowControl),
  "connection-window-overflow": connection(errorCode.flowControl),
  "stream-window": stream(errorCode.flowControl),
  "stream-window-overflow": stream(errorCode.flowControl),
  "connection-window-zero": connection(errorCode.protocol),
  "stream-window-zero": stream(errorCode.protocol),
  "priority-length": stream(errorCode.frameSize),
  "self-dependency": stream(errorCode.protocol),
  "trailers-without-end": stream(errorCode.protocol),
  malformed: stream(errorCode.protocol),
  "content-length": stream(errorCode.protocol),
  "head-limit": stream(errorCode.internal),
};
