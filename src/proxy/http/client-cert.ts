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
  if (mode === "always-forward-only") return joinEarlier(headers);
  const isMutual = channel.tls?.peerCertificateDer !== undefined;
  if (!isMutual || mode === "sanitize") {
    headers.remove(name);
    return;
  }
  if (mode === "forward-only") return joinEarlier(headers);
  const element = clientCertElement(channel, settings);
  const earlier = mode === "append-forward" ? headers.get(name) : undefined;
  headers.set(name, earlier === undefined ? element : `${earlier},${element}`);
}

/** One field, also of a client that sent two: a reader of one alone would miss the other. */
function joinEarlier(headers: MessageHeaders): void {
  const earlier = headers.get(name);
  if (earlier?.includes(",") === true) headers.set(name, earlier);
}

const elements = new WeakMap<Channel, { readonly settings: HttpSettings; readonly text: string }>();

/** One element of the header: made once per connection and configuration. */
function clientCertElement(channel: Channel, settings: HttpSettings): string {
  const made = elements.get(channel);
  if (made?.settings === settings) return made.text;
  const { tls } = channel;
  const { subject, uri, dns, cert, chain } = settings.clientCertDetails;
  const uris = tls?.peerUriSans ?? [];
  const parts: string[] = [];
  for (const san of tls?.localUriSans ?? []) parts.push(`By=${san}`);
  const der = tls?.peerCertificateDer;
  if (der !== undefined) parts.push(`Hash=${createHash("sha256").update(der).digest("hex")}`);
  if (cert && der !== undefined) parts.push(`Cert="${encodeURIComponent(pemOf(der))}"`);
  if (chain && der !== undefined) {
    const all = [der, ...(tls?.peerIssuersDer ?? [])].map(pemOf).join("");
    parts.push(`Chain="${encodeURIComponent(all)}"`);
  }
  const names = der === undefined ? undefined : decodeCertificateNames(der);
  // Quotes in it are escaped already, by RFC 2253.
  if (subject) parts.push(`Subject="${names?.subject ?? ""}"`);
  // The word stands there also where there is no such name, as that of the subject does.
  if (uri) parts.push(...(uris.length === 0 ? ["URI="] : uris.map((san) => `URI=${san}`)));
  if (dns) for (const san of names?.dnsSans ?? []) parts.push(`DNS=${san}`);
  const text = parts.join(";");
  elements.set(channel, { settings, text });
  return text;
}

export function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
