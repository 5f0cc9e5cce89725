/** Gathers a header block from HEADERS and CONTINUATION (RFC 9113 section 4.3), within bounds. */
import { type Flood, type FloodGuard } from "./http2-floods.ts";
import type { FrameReader } from "./http2-frame-reader.ts";
import { frameFlag, type Violation, windowMax } from "./http2-frames.ts";

/** As it comes; what it stands for is bounded by its reader. */
const blockBytesMax = 256 * 1024;
const noBytes = Buffer.alloc(0);

export class HeaderBlock {
  /** Of the block being gathered, 0 for none. */
  streamId = 0;
  isEndOfStream = false;
  /** Its sender says that the stream depends on itself. */
  isOwnParent = false;
  /** The whole block, once it is: `bytes[from, to)`. */
  bytes: Buffer = noBytes;
  from = 0;
  to = 0;
  #parts: Buffer[] = [];
  #length = 0;

  /** Lets go of the last block. */
  trim(): void {
    this.bytes = noBytes;
  }

  /** The frame is HEADERS. `whole`: nothing follows; `part`: CONTINUATION must. */
  begin(frame: FrameReader, guard: FloodGuard): Violation | Flood | "whole" | "part" {
    const { bytes, start, end, flags } = frame;
    let from = start;
    let to = end;
    if ((flags & frameFlag.padded) !== 0) {
      const padding = start < end ? (bytes[start] ?? 0) : 0;
      if (padding >= end - start) return "padding";
      from++;
      to -= padding;
    }
    this.isOwnParent = false;
    if ((flags & frameFlag.priority) !== 0) {
      if (to - from < 5) return "frame-length";
      this.isOwnParent = (bytes.readUInt32BE(from) & windowMax) === frame.streamId;
      from += 5;
    }
    this.streamId = frame.streamId;
    this.isEndOfStream = (flags & frameFlag.endStream) !== 0;
    const flood = guard.onHeaderFrame(true);
    if (flood !== undefined) return flood;
    if ((flags & frameFlag.endHeaders) === 0) return this.#keep({ bytes, from, to }, guard);
    this.bytes = bytes;
    this.from = from;
    this.to = to;
    return "whole";
  }

  /** The frame is CONTINUATION of this block. */
  add(frame: FrameReader, guard: FloodGuard): Flood | "whole" | "part" {
    const flood = guard.onHeaderFrame(false);
    if (flood !== undefined) return flood;
    const { bytes, start, end } = frame;
    const kept = this.#keep({ bytes, from: start, to: end }, guard);
    if (kept !== "part" || (frame.flags & frameFlag.endHeaders) === 0) return kept;
    this.bytes = Buffer.concat(this.#parts);
    this.from = 0;
    this.to = this.#length;
    this.#parts = [];
    this.#length = 0;
    return "whole";
  }

  #keep(
    { bytes, from, to }: { readonly bytes: Buffer; readonly from: number; readonly to: number },
    guard: FloodGuard,
  ): Flood | "part" {
    const flood = guard.onContent(from === to);
    if (flood !== undefined) return flood;
    this.#parts.push(Buffer.from(bytes.subarray(from, to)));
    this.#length += to - from;
    return this.#length > blockBytesMax ? "header-frames" : "part";
  }
}
