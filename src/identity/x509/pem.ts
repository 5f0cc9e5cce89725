/** Text around DER (RFC 7468). */
export function encodePem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** The DER of each block with this label, in order. */
export function decodePem(label: string, text: string): readonly Uint8Array[] {
  const block = new RegExp(
    `-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`,
    "g",
  );
  return [...text.matchAll(block)].map(([, base64 = ""]) => Buffer.from(base64, "base64"));
}
