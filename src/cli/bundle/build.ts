/**
 * Builds the bundle: `node src/cli/bundle/build.ts ROOT FOLDER` writes it into FOLDER, which is there and
 * empty. A process of its own, because the bundler leaves hundreds of megabytes in the one it ran in.
 */
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";

import { rolldown } from "rolldown";

import { messageOf } from "../../base/error.ts";
import { takeBuiltins } from "./builtin-modules.ts";
import { stripUnusedCodecs } from "./unused-codecs.ts";

const [root = "", folder = ""] = process.argv.slice(2);
try {
  await build();
} catch (error) {
  // The bundler paints its messages, over many lines; the first two say what is wrong and where.
  const lines = stripVTControlCharacters(messageOf(error)).split("\n");
  console.error(
    lines
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .slice(0, 2)
      .join(" "),
  );
  process.exitCode = 1;
}

/**
 * Without white space, and with short names for what is local: V8 keeps the source of all it has loaded,
 * 1.2 MB less in each process. Functions keep their names, and maps beside the chunks lead stack traces
 * back to the sources.
 */
async function build(): Promise<void> {
  const bundle = await rolldown({
    input: {
      main: join(root, "src/cli/main.ts"),
      "data-worker": join(root, "src/proxy/workers/worker-main.ts"),
    },
    platform: "node",
    external: ["rolldown"],
    plugins: [takeBuiltins(root), stripUnusedCodecs(root)],
    logLevel: "silent",
  });
  try {
    await bundle.write({
      dir: folder,
      format: "esm",
      entryFileNames: "[name].js",
      chunkFileNames: "[name]-[hash].js",
      minify: { compress: true, mangle: { keepNames: true }, codegen: { removeWhitespace: true } },
      sourcemap: "hidden",
      plugins: [{ name: "ascii", generateBundle: { order: "post", handler: inAscii } }],
    });
  } finally {
    await bundle.close();
  }
}

/**
 * One character beyond Latin 1, in a comment even, and V8 keeps a whole chunk at two bytes for each
 * character: 1.5 MB more in every sidecar. The escape means the same in strings, templates, regular
 * expressions and names, and moves no line.
 */
function inAscii(
  _options: unknown,
  files: Readonly<Record<string, { readonly type: string; code?: string }>>,
): void {
  for (const file of Object.values(files)) {
    if (file.type !== "chunk" || file.code === undefined) continue;
    file.code = file.code.replaceAll(
      /[\u0080-\uffff]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  }
}
