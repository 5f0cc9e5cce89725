/** Envoy's session cookie: an endpoint's address and when it expires, as protobuf in base64. */
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";

const addressTag = 0x0a;
const expiresTag = 0x10;

export function writeSessionCookie(address: string, expiresMs: number | undefined): string {
  const writer = new BinaryWriter();
  writer.uint32(addressTag).string(address);
  if (expiresMs !== undefined) writer.uint32(expiresTag).int64(Math.floor(expiresMs / 1000));
  return Buffer.from(writer.finish()).toString("base64");
}

/** Undefined for what nobody of us wrote, and for what has expired. */
export function readSessionCookie(text: string, nowMs: number): string | undefined {
  if (!/^[0-9A-Za-z+/]+={0,2}$/.test(text)) return undefined;
  try {
    const reader = new BinaryReader(Buffer.from(text, "base64"));
    let address: string | undefined;
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === addressTag) address = reader.string();
      else if (tag === expiresTag && Number(reader.int64()) * 1000 < nowMs) return undefined;
      else if (tag !== expiresTag) reader.skip(tag & 7);
    }
    return address;
  } catch {
    // A client may send anything; without a session it is served like a new one.
    return undefined;
  }
}
