/** The codecs that are searched, and the files each consists of. */
import type { FuzzTarget } from "./fuzzer.ts";

export type Codec = "http1" | "tls-hello" | "proxy-protocol";

export const codecFiles: Readonly<Record<Codec, readonly string[]>> = {
  http1: ["parser", "framing", "body", "head", "writer"].map((part) => `src/wire/http1-${part}.ts`),
  "tls-hello": ["src/wire/tls-hello.ts"],
  "proxy-protocol": ["src/wire/proxy-protocol.ts", "src/wire/ip-text.ts"],
};

export function toCodec(name: string | undefined): Codec {
  if (name === "http1" || name === "tls-hello" || name === "proxy-protocol") return name;
  throw new Error(`codecs are ${Object.keys(codecFiles).join(", ")}`);
}

/** Loads the codec's modules: instrument them before. */
export async function loadTarget(codec: Codec): Promise<FuzzTarget> {
  switch (codec) {
    case "http1":
      return (await import("./http1-target.ts")).http1Target;
    case "tls-hello":
      return (await import("./tls-hello-target.ts")).tlsHelloTarget;
    case "proxy-protocol":
      return (await import("./proxy-protocol-target.ts")).proxyProtocolTarget;
  }
}
