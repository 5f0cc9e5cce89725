/** The codecs that are searched, and the files each consists of. */
import type { FuzzTarget } from "./fuzzer.ts";

export type Codec = "http1" | "tls-hello" | "proxy-protocol" | "hpack" | "http2";

export const codecFiles: Readonly<Record<Codec, readonly string[]>> = {
  http1: ["parser", "framing", "body", "head", "writer"].map((part) => `src/wire/http1-${part}.ts`),
  "tls-hello": ["src/wire/tls-hello.ts"],
  "proxy-protocol": ["src/wire/proxy-protocol.ts", "src/wire/ip-text.ts"],
  hpack: ["decoder", "encoder", "huffman", "dynamic-table"].map(
    (part) => `src/wire/hpack-${part}.ts`,
  ),
  // What is sent, and floods, are held by `src/wire/http2-abuse.test.ts`: no input drives them far.
  http2: "session server-side streams framing frame-reader header-block peer-settings"
    .split(" ")
    .map((part) => `src/wire/http2-${part}.ts`),
};

const names: readonly Codec[] = ["http1", "tls-hello", "proxy-protocol", "hpack", "http2"];

export function toCodec(name: string | undefined): Codec {
  const codec = names.find((one) => one === name);
  if (codec !== undefined) return codec;
  throw new Error(`codecs are ${names.join(", ")}`);
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
    case "hpack":
      return (await import("./hpack-target.ts")).hpackTarget;
    case "http2":
      return (await import("./http2-target.ts")).http2Target;
  }
}
