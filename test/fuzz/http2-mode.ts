/**
 * How a session is driven: the first byte of an input chooses settings, and whether what is sent is large,
 * waits for windows and for a slow peer, and is checked frame by frame.
 */
import { defaultFloodLimits, type FloodLimits } from "../../src/wire/http2-floods.ts";
import type { Http2Settings } from "../../src/wire/http2-session.ts";

/** Small, so that small inputs fill it. */
const smallWindow = 1000;
export const streamsMax = 4;

export interface Mode {
  /** The input is all that the peer says; otherwise it has said its preface and SETTINGS. */
  readonly isRaw: boolean;
  readonly allowsConnect: boolean;
  readonly isSmallTable: boolean;
  /** Content is sent, the peer is slow at times, and owners pause. */
  readonly flows: boolean;
  /** What is malformed ends the connection. */
  readonly isStrict: boolean;
  /** Some streams are not served. */
  readonly refuses: boolean;
  /** Farewell is said in the middle. */
  readonly leaves: boolean;
  /** Frames that cost much are few, windows and heads large; `inflate()` makes content of a little. */
  readonly isTight: boolean;
}

export function modeOf(first: number | undefined): Mode {
  const bits = first ?? 0;
  const flows = (bits & 8) !== 0;
  return {
    isRaw: (bits & 1) !== 0,
    allowsConnect: (bits & 2) !== 0,
    isSmallTable: (bits & 4) !== 0,
    flows,
    isStrict: (bits & 16) !== 0,
    refuses: (bits & 32) !== 0,
    leaves: (bits & 64) !== 0,
    // What waits for the peer depends on when it is asked, so only where it is asked frame by frame.
    isTight: flows && (bits & 128) !== 0,
  };
}

const tight: FloodLimits = {
  emptyFramesMax: 1,
  priorityPerStreamMax: 2,
  windowUpdatesPerDataMax: 1,
  controlFramesMax: 3,
  outboundFramesMax: 8,
  resetsMax: 2,
};

export function settingsOf(mode: Mode): Http2Settings {
  return {
    maxConcurrentStreams: streamsMax,
    streamWindow: mode.isTight ? 100_000 : smallWindow,
    connectionWindow: mode.isTight ? 70_000 : 65_535,
    tableBytes: mode.isSmallTable ? 100 : 4096,
    limits: mode.isTight
      ? { headBytesMax: 70_000, fieldsMax: 200 }
      : { headBytesMax: 2000, fieldsMax: 16 },
    floods: mode.isTight ? tight : defaultFloodLimits,
    allowsConnect: mode.allowsConnect,
  };
}

/** Where the frames of an input end, so that a session can be given one after the other. */
export function frameEnds(input: Buffer, from: number): readonly number[] {
  const ends: number[] = [];
  for (let at = from; at + 9 <= input.length;) {
    at = Math.min(input.length, at + 9 + input.readUIntBE(at, 3));
    ends.push(at);
  }
  return ends;
}

/** A type that HTTP/2 does not know stands for much content of its stream. */
export const muchContent = 0x0d;
const much = Buffer.alloc(16_000, "m");

export function inflate(input: Buffer): Buffer {
  if (!input.includes(muchContent)) return input;
  const parts: Buffer[] = [];
  let from = 0;
  for (const end of frameEnds(input, 0)) {
    const frame = input.subarray(from, end);
    if (frame[3] !== muchContent) parts.push(frame);
    else {
      const head = Buffer.from(frame.subarray(0, 9));
      head.writeUIntBE(much.length, 0, 3);
      head[3] = 0;
      parts.push(head, much);
    }
    from = end;
  }
  return Buffer.concat([...parts, input.subarray(from)]);
}
