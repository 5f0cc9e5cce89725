/** The codecs that are searched, and the files each consists of. */
import type { FuzzTarget } from "./fuzzer.ts";

export type Codec = "http1" | "tls-hello" | "proxy-protocol" | "hpack" | "http2" | "http2-client";

export const codecFiles: Readonly<Record<Codec, readonly string[]>> = {
  http1: ["parser", "framing", "body", "head", "writer"].map((part) => `src/wire/http1-${part}.ts`),
  "tls-hello": ["src/wire/tls-hello.ts"],
  "proxy-protocol": ["src/wire/proxy-protocol.ts", "src/wire/ip-text.ts"],
  hpack: ["decoder", "encoder", "huffman", "dynamic-table"].map(
    (part) => `src/wire/hpack-${part}.ts`,
  ),
  http2: http2Files("server-side framing"),
  "http2-client": http2Files("client-side response-framing"),
};

/** Those of both sides, and of one. `http2-stream-table.ts` has properties of its own. */
function http2Files(ofSide: string): readonly string[] {
  const ofBoth =
    "session side streams stream closed-streams frame-reader header-block peer-settings sender receive-window floods";
  return `${ofBoth} ${ofSide}`.split(" ").map((part) => `src/wire/http2-${part}.ts`);
}

export const codecs: readonly Codec[] = [
  "http1",
  "tls-hello",
  "proxy-protocol",
  "hpack",
  "http2",
  "http2-client",
];

export function toCodec(name: string | undefined): Codec {
  const codec = codecs.find((one) => one === name);
  if (codec !== undefined) return codec;
  throw new Error(`codecs are ${codecs.join(", ")}`);
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
    case "http2-client":
      return (await import("./http2-client-target.ts")).http2ClientTarget;
  }
}
