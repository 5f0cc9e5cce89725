/** Texts of HTTP heads are kept byte for byte, one character each; what is told to others is UTF-8. */
const hasHighBytes = /[\u0080-\u00ff]/;
const isText = /[\u0100-\uffff]/;

const isAbove = /[\u0080-\uffff]/;

/** As a head would hold it: a text that was read as UTF-8, in configuration or in a report. */
export function bytesOf(text: string): string {
  return isAbove.test(text) ? Buffer.from(text, "utf8").toString("latin1") : text;
}

export function utf8Of(value: string): string {
  if (!hasHighBytes.test(value) || isText.test(value)) return value;
  return Buffer.from(value, "latin1").toString("utf8");
}
