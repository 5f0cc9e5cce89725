/**
 * The names in an X.509 certificate (DER): the subject's common name and the subject alternative
 * names, read from the bytes. Text forms of these names need quoting rules, and mistakes with those
 * have let one name pass for another; bytes do not. Checks nothing: whoever asks has verified the
 * certificate.
 */
import {
  type DerElement,
  derTag,
  elements,
  extensionsOf,
  isBytes,
  only,
  signedFields,
} from "./der.ts";

export interface CertificateNames {
  /** The whole subject in RFC 2253's form, as OpenSSL writes it: the last part first. */
  readonly subject: string;
  readonly commonName: string | undefined;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly emailSans: readonly string[];
  /** `10.0.0.1`, or IPv6 in hexadecimal groups without shortening. */
  readonly ipSans: readonly string[];
}

const set = 0x31;
const utf8String = 0x0c;
const printableString = 0x13;
const ia5String = 0x16;
const numericString = 0x12;
const teletexString = 0x14;
const visibleString = 0x1a;
const bmpString = 0x1e;

/** Undefined when the bytes are not a certificate, or hold a name that is not plain text. */
export function decodeCertificateNames(der: Uint8Array): CertificateNames | undefined {
  const fields = signedFields(der);
  if (fields === undefined) return undefined;
  // version [0] is absent in version 1; then serial, algorithm, issuer, validity, subject.
  const subject = fields[fields[0]?.tag === 0xa0 ? 5 : 4];
  if (subject?.tag !== derTag.sequence) return undefined;
  const extensions = fields.find((field) => field.tag === derTag.extensions);
  const general = extensions === undefined ? [] : generalNames(extensions.content);
  if (general === undefined) return undefined;
  const ofTag = (tag: number): string[] | undefined => texts(general, tag);
  const uriSans = ofTag(0x86);
  const dnsSans = ofTag(0x82);
  const emailSans = ofTag(0x81);
  if (uriSans === undefined || dnsSans === undefined || emailSans === undefined) return undefined;
  const ipSans = general.filter((name) => name.tag === 0x87).map((name) => ipText(name.content));
  return {
    subject: formatDistinguishedName(subject.content),
    commonName: commonNameOf(subject.content),
    uriSans,
    dnsSans,
    emailSans,
    ipSans,
  };
}

function formatDistinguishedName(name: Uint8Array): string {
  const parts = (elements(name) ?? []).map(({ content }) =>
    (elements(content) ?? [])
      .map((pair) => formatAttribute(...(elements(pair.content) ?? [])))
      // OpenSSL turns round the order within a part, too.
      .toReversed()
      .join("+"),
  );
  return parts.toReversed().join(",");
}

function formatAttribute(type?: DerElement, value?: DerElement): string {
  if (type === undefined || value === undefined) return "";
  const id = objectIdText(type.content);
  const name = attributeNames[id];
  const text = name === undefined ? undefined : directoryText(value);
  if (text !== undefined) return `${name}=${escapeAttribute(text)}`;
  const { tag, content } = value;
  const length =
    content.length < 0x80
      ? [content.length]
      : content.length < 0x100
        ? [0x81, content.length]
        : [0x82, content.length >> 8, content.length & 0xff];
  const der = [tag, ...length, ...content].map((byte) => byte.toString(16).padStart(2, "0"));
  return `${name ?? id}=#${der.join("").toUpperCase()}`;
}

/** What stands in subjects of authorities that people use; others are told by their number, as OpenSSL tells what it does not know. */
const attributeNames: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.9": "street",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "title",
  "2.5.4.13": "description",
  "2.5.4.15": "businessCategory",
  "2.5.4.16": "postalAddress",
  "2.5.4.17": "postalCode",
  "2.5.4.18": "postOfficeBox",
  "2.5.4.19": "physicalDeliveryOfficeName",
  "2.5.4.20": "telephoneNumber",
  "2.5.4.31": "member",
  "2.5.4.32": "owner",
  "2.5.4.41": "name",
  "2.5.4.42": "GN",
  "2.5.4.43": "initials",
  "2.5.4.44": "generationQualifier",
  "2.5.4.45": "x500UniqueIdentifier",
  "2.5.4.46": "dnQualifier",
  "2.5.4.51": "houseIdentifier",
  "2.5.4.65": "pseudonym",
  "2.5.4.72": "role",
  "0.9.2342.19200300.100.1.1": "UID",
  "0.9.2342.19200300.100.1.25": "DC",
  "1.2.840.113549.1.9.1": "emailAddress",
  "1.2.840.113549.1.9.2": "unstructuredName",
  "1.2.840.113549.1.9.8": "unstructuredAddress",
};

function objectIdText(bytes: Uint8Array): string {
  const numbers: number[] = [];
  let number = 0;
  for (const byte of bytes) {
    number = number * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    numbers.push(number);
    number = 0;
  }
  const [first = 0, ...rest] = numbers;
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - root * 40, ...rest].join(".");
}

/** Whatever they may hold, each byte is one character to OpenSSL. */
const bytewiseStrings = [printableString, ia5String, numericString, teletexString, visibleString];

/** As UTF-8; undefined for what is no text. */
function directoryText({ tag, content }: DerElement): Buffer | undefined {
  if (tag === utf8String) return Buffer.from(content);
  if (bytewiseStrings.includes(tag)) return Buffer.from(Buffer.from(content).toString("latin1"));
  if (tag !== bmpString || content.length % 2 !== 0) return undefined;
  return Buffer.from(Buffer.from(content).swap16().toString("utf16le"));
}

/** RFC 2253 section 2.4, with everything outside printable ASCII in hexadecimal. */
function escapeAttribute(utf8: Buffer): string {
  let text = "";
  for (const [i, byte] of utf8.entries()) {
    const character = String.fromCharCode(byte);
    const isEdge =
      (i === 0 && " #".includes(character)) || (i === utf8.length - 1 && byte === 0x20);
    if (byte < 0x20 || byte > 0x7e) {
      text += `\\${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    } else if (isEdge || ',+"\\<>;'.includes(character)) text += `\\${character}`;
    else text += character;
  }
  return text;
}

function commonNameOf(subject: Uint8Array): string | undefined {
  for (const part of elements(subject) ?? []) {
    if (part.tag !== set) continue;
    for (const pair of elements(part.content) ?? []) {
      const [type, value] = elements(pair.content) ?? [];
      if (type?.tag !== derTag.objectId || !isBytes(type.content, [0x55, 4, 3])) continue;
      const isText = [utf8String, printableString, ia5String].includes(value?.tag ?? 0);
      if (value !== undefined && isText) return plainText(value.content);
    }
  }
  return undefined;
}

/** The entries of subjectAltName (2.5.29.17); two such extensions make the certificate invalid. */
function generalNames(content: Uint8Array): readonly DerElement[] | undefined {
  const found = (extensionsOf(content, [0x55, 0x1d, 0x11]) ?? []).map((value) => {
    const names = value === undefined ? undefined : only(value, derTag.sequence);
    return names === undefined ? undefined : elements(names);
  });
  return found.length > 1 ? undefined : found.length === 0 ? [] : found[0];
}

function texts(names: readonly DerElement[], tag: number): string[] | undefined {
  const found: string[] = [];
  for (const name of names) {
    if (name.tag !== tag) continue;
    const text = plainText(name.content);
    if (text === undefined) return undefined;
    found.push(text);
  }
  return found;
}

/** Printable ASCII only: a NUL or a look-alike in a name has no honest use. */
function plainText(bytes: Uint8Array): string | undefined {
  let text = "";
  for (const byte of bytes) {
    if (byte < 0x20 || byte > 0x7e) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

function ipText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: string[] = [];
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    groups.push((((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)).toString(16));
  }
  return groups.join(":");
}
