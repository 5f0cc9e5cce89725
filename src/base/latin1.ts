/** Texts of HTTP heads are kept byte for byte, one character each; what is told to others is UTF-8. */
const hasHighBytes = /[\u0080-\u00ff]/;
const isText = /[\u0100-\uffff]/;

export function utf8Of(value: string): string {
  if (!hasHighBytes.test(value) || isText.test(value)) return value;
  return Buffer.from(value, "latin1").toString("utf8");
}
