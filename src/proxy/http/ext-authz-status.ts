/** The status that an authorization service says in headers, where Envoy takes it for the answer's. */
import type { HeaderValueOption } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { lowerAscii } from "../engine/text-test.ts";

/** As in Envoy a header `:status` is the answer's; NaN: no status, or one of several. Undefined: there is none. */
export function statusIn(headers: readonly HeaderValueOption[]): number | undefined {
  const [first, ...others] = headers.filter((option) => isStatus(option) && option.append !== true);
  if (first === undefined) return undefined;
  const text = bytesOf(first).toString("latin1");
  return others.length === 0 && /^[0-9]{3}$/.test(text) ? Number(text) : NaN;
}

export function isStatus({ header }: HeaderValueOption): boolean {
  return lowerAscii(header?.key ?? "") === ":status";
}

export function bytesOf({ header }: HeaderValueOption): Buffer {
  const raw = header?.rawValue ?? new Uint8Array(0);
  return raw.length > 0 ? Buffer.from(raw) : Buffer.from(header?.value ?? "");
}
