/**
 * The PROXY protocol's header read the slow way, from its specification (versions 1 and 2): text by
 * one regular expression, addresses by Node.
 */
import { BlockList, isIPv4, isIPv6 } from "node:net";

import type { ProxyHeader } from "../../src/wire/proxy-protocol.ts";

type Verdict =
  | { readonly kind: "incomplete" | "absent" | "malformed" }
  | Extract<ProxyHeader, { kind: "header" }>;

const signature = "\r\n\r\n\0\r\nQUIT\n";

export function referenceProxyHeader(bytes: Uint8Array): Verdict {
  const text = String.fromCharCode(...bytes);
  if (text.startsWith(signature)) return version2(bytes);
  if (text.startsWith("PROXY ")) return version1(text);
  const isBeginning = signature.startsWith(text) || "PROXY ".startsWith(text);
  return { kind: isBeginning ? "incomplete" : "absent" };
}

function version1(text: string): Verdict {
  const lineEnd = text.slice(0, 107).indexOf("\n");
  if (lineEnd < 0) return { kind: text.length >= 107 ? "malformed" : "incomplete" };
  const line = text.slice(0, lineEnd + 1);
  const tlvs = new Uint8Array(0);
  const header = { kind: "header", bytes: line.length, version: 1, tlvs } as const;
  if (/^PROXY UNKNOWN( [^\n]*)?\r\n$/.test(line)) return { ...header, addresses: undefined };
  const found = /^PROXY TCP([46]) ([^ ]+) ([^ ]+) (0|[1-9]\d*) (0|[1-9]\d*)\r\n$/.exec(line);
  if (found === null) return { kind: "malformed" };
  const [, family, source = "", destination = "", sourcePort = "", destinationPort = ""] = found;
  const isAddress = family === "4" ? isIPv4 : isPlainIPv6;
  const isPort = (port: string): boolean => Number(port) <= 65_535;
  if (![source, destination].every(isAddress)) return { kind: "malformed" };
  if (![sourcePort, destinationPort].every(isPort)) return { kind: "malformed" };
  if (![source, destination].every(isSomebodys)) return { kind: "malformed" };
  return {
    ...header,
    addresses: {
      source: { address: canonical(source), port: Number(sourcePort) },
      destination: { address: canonical(destination), port: Number(destinationPort) },
    },
  };
}

/** Hexadecimal groups alone: the specification has no dotted quads in version 1. */
function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && /^[0-9a-fA-F:]+$/.test(text);
}

function version2(bytes: Uint8Array): Verdict {
  const [versionCommand, family, high, low] = bytes.slice(12, 16);
  if (versionCommand === undefined) return { kind: "incomplete" };
  if (versionCommand !== 0x20 && versionCommand !== 0x21) return { kind: "malformed" };
  if (family === undefined || high === undefined || low === undefined) {
    return { kind: "incomplete" };
  }
  const length = high * 256 + low;
  if (length > 4096) return { kind: "malformed" };
  if (bytes.length < 16 + length) return { kind: "incomplete" };
  const header = { kind: "header", bytes: 16 + length, version: 2 } as const;
  if (versionCommand === 0x20) {
    return { ...header, addresses: undefined, tlvs: new Uint8Array(0) };
  }
  const size = new Map([
    [0x11, 4],
    [0x21, 16],
  ]).get(family);
  if (size === undefined || length < size * 2 + 4) return { kind: "malformed" };
  const view = new DataView(Uint8Array.from(bytes.slice(16, 16 + length)).buffer);
  let at = size * 2 + 4;
  while (at + 3 <= length) at += 3 + view.getUint16(at + 1);
  if (at !== length) return { kind: "malformed" };
  const addresses = {
    source: { address: addressAt(view, 0, size), port: view.getUint16(size * 2) },
    destination: { address: addressAt(view, size, size), port: view.getUint16(size * 2 + 2) },
  };
  const { source, destination } = addresses;
  if (![source.address, destination.address].every(isSomebodys)) return { kind: "malformed" };
  const tlvs = new Uint8Array(view.buffer.slice(size * 2 + 4));
  return { ...header, addresses, tlvs };
}

/** Neither a group's, nor everybody's, nor nobody's. */
function isSomebodys(address: string): boolean {
  const text = canonical(address);
  return !nobodys.check(text, text.includes(":") ? "ipv6" : "ipv4");
}

const nobodys = new BlockList();
nobodys.addSubnet("224.0.0.0", 4, "ipv4");
nobodys.addAddress("0.0.0.0", "ipv4");
nobodys.addAddress("255.255.255.255", "ipv4");
nobodys.addSubnet("ff00::", 8, "ipv6");
nobodys.addAddress("::", "ipv6");

function addressAt(view: DataView, at: number, size: number): string {
  if (size === 4) return [0, 1, 2, 3].map((i) => view.getUint8(at + i)).join(".");
  const groups = [0, 2, 4, 6, 8, 10, 12, 14].map((i) => view.getUint16(at + i).toString(16));
  return canonical(groups.join(":"));
}

/** RFC 5952, as the URL standard writes it; IPv4 in IPv6 is IPv4. */
function canonical(address: string): string {
  if (!address.includes(":")) return address;
  const text = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(text) ?? [];
  if (high === undefined || low === undefined) return text;
  const value = (Number.parseInt(high, 16) << 16) | Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}
