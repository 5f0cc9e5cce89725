/** Reads SETTINGS (RFC 9113 section 6.5.2) and applies what concerns what we send. */
import { setting, type Violation, windowMax } from "./http2-frames.ts";
import type { Http2Sender } from "./http2-sender.ts";
import type { Http2Stream } from "./http2-stream.ts";

export interface PeerSettings {
  /** What a new stream may be sent. */
  initialWindow: number;
  /** Streams of ours at a time. */
  maxStreams: number;
  /** It has said how it is set. */
  isTold: boolean;
  /** It takes CONNECT with `:protocol` (RFC 8441); a server's. */
  allowsConnect: boolean;
}

/** What is begun before the peer has said how much it takes. */
export const unsaidStreamsMax = 100;

export interface SettingsTarget {
  readonly sender: Http2Sender;
  readonly open: { values(): readonly Http2Stream[] };
  readonly peer: PeerSettings;
}

const maxFrameBytesMin = 16_384;
const maxFrameBytesMax = 16_777_215;

/** `payload[start, end)`. The violation, if it is one: then nothing more of it is applied. */
export function applySettings(
  payload: Buffer,
  { start, end }: { readonly start: number; readonly end: number },
  { sender, open, peer }: SettingsTarget,
): Violation | undefined {
  if ((end - start) % 6 !== 0) return "frame-length";
  peer.isTold = true;
  // Only the last counts, or a frame of thousands would go over all streams as often.
  let initialWindow = peer.initialWindow;
  for (let at = start; at < end; at += 6) {
    const value = payload.readUInt32BE(at + 2);
    switch (payload.readUInt16BE(at)) {
      case setting.headerTableBytes:
        sender.encoder.setTableBytesMax(value);
        break;
      case setting.enablePush:
        if (value > 1) return "settings-value";
        break;
      case setting.maxConcurrentStreams:
        peer.maxStreams = value;
        break;
      case setting.initialWindow:
        if (value > windowMax) return "settings-window";
        initialWindow = value;
        break;
      case setting.maxFrameBytes:
        if (value < maxFrameBytesMin || value > maxFrameBytesMax) return "settings-value";
        break;
      case setting.enableConnectProtocol:
        peer.allowsConnect = value === 1;
        break;
      default:
      // What is not known is passed over.
    }
  }
  const change = initialWindow - peer.initialWindow;
  if (change === 0) return undefined;
  peer.initialWindow = initialWindow;
  for (const stream of open.values()) {
    if (!sender.addStreamWindow(stream, change)) return "settings-window";
  }
  return undefined;
}
