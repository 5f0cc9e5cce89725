/** Where the console listens, as heddle.yaml and a Compose file's `x-heddle` say it alike. */
import type { SourcePosition } from "../../base/problem.ts";
import type { FieldReader } from "./reader.ts";

export interface ConsoleFields {
  readonly consolePort: number;
  /** Also of gateways' host ports. */
  readonly hostAddress: string;
  readonly places: { readonly consolePort: SourcePosition; readonly hostAddress: SourcePosition };
}

const defaultPort = 9977;
const defaultAddress = "127.0.0.1";

/** `console: { port: 9977, address: 127.0.0.1 }`; what is not written stands at `otherwise`. */
export function readConsole(
  reader: FieldReader | undefined,
  otherwise: SourcePosition,
): ConsoleFields {
  const fields = reader?.mapping("console");
  const consolePort = fields?.integer("port", 0, 65_535) ?? defaultPort;
  const hostAddress = fields?.string("address") ?? defaultAddress;
  fields?.finish();
  const placeOf = (key: string): SourcePosition => fields?.positionOf(key) ?? otherwise;
  const places = { consolePort: placeOf("port"), hostAddress: placeOf("address") };
  return { consolePort, hostAddress, places };
}
