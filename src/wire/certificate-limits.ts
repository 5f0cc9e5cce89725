/**
 * What an authority's certificate lets it vouch for (RFC 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.10),
 * read from its bytes. Whether a chain keeps to it is for whoever has the chain.
 */
import { type DerElement, derTag, elements, extensionsOf, only, signedFields } from "./der.ts";

/** Bits of a certificate's key usage, the first one highest (RFC 5280 section 4.2.1.3). */
export const keyUsage = { certificateSign: 0x0400, crlSign: 0x0200 } as const;

/** 16 bits; undefined where the certificate does not limit it, or cannot be read. */
export function decodeKeyUsage(der: Uint8Array): number | undefined {
  const [value] = extensions(der, [0x55, 0x1d, 0x0f]) ?? [];
  const bits = value === undefined ? undefined : only(value, derTag.bitString);
  // Its first byte counts the bits of the last that mean nothing.
  return bits === undefined ? undefined : ((bits[1] ?? 0) << 8) | (bits[2] ?? 0);
}

/** A form of names, by its tag in GeneralName, and what stands for a tree of them. */
export interface NameTree {
  readonly form: number;
  readonly base: Uint8Array;
}

export interface AuthorityLimits {
  /** Authorities that may stand between it and who is vouched for. */
  readonly pathLength: number;
  /** Names of a form must lie in one of the trees of their form, where there is one. */
  readonly permitted: readonly NameTree[];
  /** And in none of these. */
  readonly excluded: readonly NameTree[];
}

/** Undefined for limits that cannot be read: nothing that it vouches for is to be believed. */
export function decodeAuthorityLimits(der: Uint8Array): AuthorityLimits | undefined {
  const basic = extensions(der, [0x55, 0x1d, 0x13]);
  const constraints = extensions(der, [0x55, 0x1d, 0x1e]);
  if (basic === undefined || constraints === undefined) return undefined;
  const pathLength = decodePathLength(basic);
  if (pathLength === undefined || constraints.length > 1) return undefined;
  if (constraints.length === 0) return { pathLength, permitted: [], excluded: [] };
  const [value] = constraints;
  const content = value === undefined ? undefined : only(value, derTag.sequence);
  const parts = content === undefined ? undefined : elements(content);
  if (parts === undefined) return undefined;
  let permitted: readonly NameTree[] | undefined = [];
  let excluded: readonly NameTree[] | undefined = [];
  for (const { tag, content: trees } of parts) {
    if (tag === 0xa0) permitted = decodeTrees(trees);
    else if (tag === 0xa1) excluded = decodeTrees(trees);
    else return undefined;
  }
  if (permitted === undefined || excluded === undefined) return undefined;
  return { pathLength, permitted, excluded };
}

function extensions(
  der: Uint8Array,
  id: readonly number[],
): readonly (Uint8Array | undefined)[] | undefined {
  const fields = signedFields(der);
  const field = fields?.find(({ tag }) => tag === derTag.extensions);
  if (field !== undefined) return extensionsOf(field.content, id);
  return fields === undefined ? undefined : [];
}

function decodePathLength(found: readonly (Uint8Array | undefined)[]): number | undefined {
  if (found.length > 1) return undefined;
  if (found.length === 0) return Number.POSITIVE_INFINITY;
  const [value] = found;
  const content = value === undefined ? undefined : only(value, derTag.sequence);
  const parts = content === undefined ? undefined : elements(content);
  if (parts === undefined) return undefined;
  const length = parts.find(({ tag }) => tag === derTag.integer);
  if (length === undefined) return Number.POSITIVE_INFINITY;
  return integerOf(length);
}

/** Small and not negative; undefined for another. */
function integerOf({ content }: DerElement): number | undefined {
  if (content.length === 0 || content.length > 4 || (content[0] ?? 0) >= 0x80) return undefined;
  let value = 0;
  for (const byte of content) value = value * 256 + byte;
  return value;
}

function decodeTrees(content: Uint8Array): readonly NameTree[] | undefined {
  const trees: NameTree[] = [];
  for (const { tag, content: tree } of elements(content) ?? [{ tag: 0, content }]) {
    const parts = tag === derTag.sequence ? elements(tree) : undefined;
    const [base] = parts ?? [];
    // A minimum or maximum has no meaning there (RFC 5280): what has one is not understood.
    if (base === undefined || parts?.length !== 1) return undefined;
    trees.push({ form: base.tag, base: base.content });
  }
  return trees;
}
