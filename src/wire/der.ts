/** Elements of DER (X.690), and where in a certificate they stand. Checks nothing but that they fill their place. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
}

export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  sequence: 0x30,
  /** Of a certificate's fields. */
  extensions: 0xa3,
} as const;

/** What a certificate signs, field by field; undefined when the bytes are none. */
export function signedFields(certificateDer: Uint8Array): readonly DerElement[] | undefined {
  const certificate = only(certificateDer, derTag.sequence);
  const [signed] = certificate === undefined ? [] : (elements(certificate) ?? []);
  return signed?.tag === derTag.sequence ? elements(signed.content) : undefined;
}

/**
 * The values of all extensions of this object id in the extensions' field; undefined among them for
 * one that cannot be read, and instead of them where none can.
 */
export function extensionsOf(
  content: Uint8Array,
  id: readonly number[],
): readonly (Uint8Array | undefined)[] | undefined {
  const list = only(content, derTag.sequence);
  const all = list === undefined ? undefined : elements(list);
  if (all === undefined) return undefined;
  const found: (Uint8Array | undefined)[] = [];
  for (const extension of all) {
    const parts = elements(extension.content) ?? [];
    const [type] = parts;
    if (type?.tag !== derTag.objectId || !isBytes(type.content, id)) continue;
    const value = parts.at(-1);
    found.push(value?.tag === derTag.octetString ? value.content : undefined);
  }
  return found;
}

export function isBytes(bytes: Uint8Array, expected: readonly number[]): boolean {
  return bytes.length === expected.length && expected.every((byte, i) => bytes[i] === byte);
}

/** The content of the one element that `bytes` must be. */
export function only(bytes: Uint8Array, tag: number): Uint8Array | undefined {
  const found = elements(bytes);
  return found?.length === 1 && found[0]?.tag === tag ? found[0].content : undefined;
}

/** The elements side by side in `bytes`; undefined when they do not fill it exactly. */
export function elements(bytes: Uint8Array): DerElement[] | undefined {
  const found: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at] ?? 0;
    let length = bytes[at + 1];
    if (length === undefined || (tag & 0x1f) === 0x1f) return undefined;
    at += 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count === 0 || count > 3 || at + count > bytes.length) return undefined;
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[at + i] ?? 0);
      at += count;
    }
    if (at + length > bytes.length) return undefined;
    found.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return found;
}
