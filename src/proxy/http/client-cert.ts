/** `x-forwarded-client-cert`: what is said to the upstream about the client's certificate. */
import { createHash } from "node:crypto";

import type { Channel } from "../../net/channel.ts";
import { decodeCertificateNames } from "../../wire/certificate-names.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { HttpSettings } from "./settings.ts";

const name = "x-forwarded-client-cert";

export function applyClientCert(
  headers: MessageHeaders,
  channel: Channel,
  settings: HttpSettings,
): void {
  const mode = settings.clientCert;
  if (mode === "always-forward-only") return;
  const isMutual = channel.tls?.peerCertificateDer !== undefined;
  if (!isMutual || mode === "sanitize") {
    headers.remove(name);
    return;
  }
  if (mode === "forward-only") return;
  const element = clientCertElement(channel, settings);
  const earlier = mode === "append-forward" ? headers.get(name) : undefined;
  headers.set(name, earlier === undefined ? element : `${earlier},${element}`);
}

const elements = new WeakMap<Channel, string>();

/** One element of the header: made once per connection. */
function clientCertElement(channel: Channel, settings: HttpSettings): string {
  const made = elements.get(channel);
  if (made !== undefined) return made;
  const { tls } = channel;
  const { subject, uri, dns } = settings.clientCertDetails;
  const parts: string[] = [];
  for (const san of tls?.localUriSans ?? []) parts.push(`By=${san}`);
  const der = tls?.peerCertificateDer;
  if (der !== undefined) parts.push(`Hash=${createHash("sha256").update(der).digest("hex")}`);
  if (subject) parts.push(`Subject="${escapeQuoted(subjectOf(tls?.peerCommonName))}"`);
  if (uri) for (const san of tls?.peerUriSans ?? []) parts.push(`URI=${san}`);
  if (dns && der !== undefined) {
    for (const san of decodeCertificateNames(der)?.dnsSans ?? []) parts.push(`DNS=${san}`);
  }
  const element = parts.join(";");
  elements.set(channel, element);
  return element;
}

function subjectOf(commonName: string | undefined): string {
  return commonName === undefined ? "" : `CN=${commonName}`;
}

function escapeQuoted(text: string): string {
  return text.replaceAll(/["\\]/g, String.raw`\$&`);
}
