/** The rules that tools/tidy.ts enforces: the import table of ARCHITECTURE.md, and file lengths. */

export interface Area {
  /** Other areas it may import (directly their files; subfolders are private). */
  readonly may: readonly string[];
  /** Node modules and packages it may import. */
  readonly packages: readonly string[];
  readonly why: string;
}

const sockets = [
  "node:net",
  "node:tls",
  "node:http",
  "node:https",
  "node:dns",
  "node:dns/promises",
  "node:dgram",
  "node:http2",
  "node:ffi",
  "node:crypto",
  "node:stream",
  "node:buffer",
  "node:os",
];
const files = ["node:fs", "node:path", "node:fs/promises"];

/** Each area of src/. An import that isn't listed is an error. */
export const areas: Readonly<Record<string, Area>> = {
  base: { may: [], packages: [], why: "base is vocabulary: no I/O, no meshes" },
  wire: {
    may: ["base"],
    packages: ["@bufbuild/protobuf"],
    why: "codecs turn bytes into values and open no socket",
  },
  telemetry: {
    may: ["base"],
    packages: ["node:crypto", "node:util"],
    why: "everything reports; reporting depends on nothing",
  },
  net: {
    may: ["base", "wire", "telemetry"],
    // Files: a Unix socket is a file with a mode.
    packages: [...sockets, "node:fs", "node:fs/promises", "re2js", "@bufbuild/protobuf"],
    why: "sockets and TLS, without meaning",
  },
  xds: {
    may: ["base", "wire", "net", "telemetry"],
    packages: ["@bufbuild/protobuf", "node:crypto"],
    why: "the protocol serves both planes and knows neither",
  },
  identity: {
    may: ["base", "wire", "net", "telemetry"],
    packages: ["node:crypto", "@peculiar/x509", "reflect-metadata", "@bufbuild/protobuf", ...files],
    why: "the CA signs; it routes nothing",
  },
  agent: {
    may: ["base", "wire", "net", "telemetry", "xds", "identity"],
    packages: [
      ...files,
      "node:crypto",
      "node:child_process",
      "node:http",
      "node:net",
      "node:dgram",
      "@bufbuild/protobuf",
    ],
    why: "the agent stands beside one proxy and knows no model",
  },
  proxy: {
    may: ["base", "wire", "net", "telemetry", "xds", "identity"],
    packages: [
      "re2js",
      "xxhash-wasm",
      "@bufbuild/protobuf",
      "node:crypto",
      "node:os",
      "node:v8",
      "node:module",
      "node:worker_threads",
    ],
    why: "the planes meet only at the xDS protocol",
  },
  model: {
    may: ["base"],
    packages: ["js-yaml", "zod", "re2js"],
    why: "the model is data; the browser loads it too",
  },
  control: {
    may: ["base", "wire", "telemetry", "model", "xds", "net", "identity"],
    packages: ["@bufbuild/protobuf", "node:crypto", "js-yaml", "node:http", ...files],
    why: "the planes meet only at the xDS protocol",
  },
  store: {
    may: ["base", "wire", "telemetry", "net"],
    packages: ["node:http", "re2js", "zod", ...files],
    why: "samples and spans, whoever sent them",
  },
  local: {
    may: ["base", "wire", "telemetry", "net", "model", "control", "identity"],
    packages: [
      ...files,
      "node:child_process",
      "node:crypto",
      "node:os",
      "node:net",
      "node:http",
      "node:dns",
      "node:url",
      "js-yaml",
    ],
    why: "one machine: it starts processes and routes nothing itself",
  },
  console: {
    may: [
      "base",
      "wire",
      "telemetry",
      "net",
      "xds",
      "identity",
      "agent",
      "model",
      "control",
      "store",
      "local",
      "proxy/engine",
    ],
    packages: ["fastify", "zod", "node:http", "node:crypto", "node:zlib", "js-yaml", ...files],
    why: "the console asks; it never serves the data path",
  },
};

/** Places inside an area that are stricter than the area. */
export const purePlaces: readonly {
  readonly path: string;
  readonly packages: readonly string[];
  readonly why: string;
}[] = [
  {
    path: "src/proxy/engine/",
    packages: ["re2js", "xxhash-wasm"],
    why: "decisions are pure: the same code explains and previews them",
  },
  {
    path: "src/control/translate/",
    packages: ["@bufbuild/protobuf"],
    why: "translation is a pure function from a model to resources",
  },
];

export const fileLinesMax = 400;

/** Files that may be longer; the numbers may only fall. */
export const fileLinesRatchet: Readonly<Record<string, number>> = {};
