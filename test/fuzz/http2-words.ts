/** Frames and fields of HTTP/2 as seeds and tokens write them down. */
import { Buffer } from "node:buffer";

export const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

/** A frame, in hexadecimal. */
export function one(
  type: number,
  flags: number,
  ...[payload, id = type === 4 ? 0 : 1]: [string, number?]
): string {
  const bytes = hex(payload);
  const start = Buffer.alloc(9);
  start.writeUIntBE(bytes.length, 0, 3);
  start[3] = type;
  start[4] = flags;
  start.writeUInt32BE(id, 5);
  return Buffer.concat([start, bytes]).toString("hex");
}

/** HEADERS, whole; the stream ends with it unless told. */
export function head(block: string, flags = 5, id = 1): string {
  return one(1, flags, block, id);
}

/** DATA; `hello` is the last of it. */
export function data(text: string, id = 1): string {
  return one(0, text === "hello" ? 1 : 0, Buffer.from(text).toString("hex"), id);
}

export function field(name: string, value: string): string {
  const text = (one: string): string => {
    const length = Buffer.from(one.length < 127 ? [one.length] : long(one.length));
    return length.toString("hex") + Buffer.from(one).toString("hex");
  };
  return `00${text(name)}${text(value)}`;
}

/** A length of more than seven bits. */
function long(length: number): readonly number[] {
  const rest = length - 127;
  return [127, (rest & 0x7f) | 0x80, rest >> 7];
}
