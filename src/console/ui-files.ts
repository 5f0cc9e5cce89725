/**
 * The browser application's built files, read into memory: a folder of `index.html` and `assets/`.
 * Only what was found there is ever served, so no request path reaches the file system.
 */
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { extname, join } from "node:path";

export interface UiFile {
  readonly bytes: Buffer;
  readonly contentType: string;
  readonly etag: string;
  /** Named by its content, so it may be kept for ever. */
  readonly isImmutable: boolean;
}

export interface UiFiles {
  /** `path` as requested: `/`, `/assets/index-x.js`. Reads again when the build has changed. */
  get(path: string): Promise<UiFile | undefined>;
}

const contentTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".png": "image/png",
};

const bytesMax = 32 * 1024 * 1024;

export function openUiFiles(folder: string): UiFiles {
  let files = new Map<string, UiFile>();
  let builtMs = Number.NaN;
  return {
    async get(path) {
      const index = await stat(join(folder, "index.html")).catch(() => undefined);
      if (index === undefined) return undefined;
      if (index.mtimeMs !== builtMs) {
        files = await readAll(folder);
        builtMs = index.mtimeMs;
      }
      return files.get(path === "/" ? "/index.html" : path);
    },
  };
}

/** What is shown where there is no build. */
export const notBuiltPage = `<!doctype html><html lang="en"><title>Heddle</title>
<h1>The console's pages are not built</h1>
<p>Run <code>npm run build --workspace ui</code> and load this page again. The API and the command line work without.</p></html>`;

async function readAll(folder: string): Promise<Map<string, UiFile>> {
  const files = new Map<string, UiFile>();
  let total = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const contentType = contentTypes[extname(entry.name)];
    if (!entry.isFile() || contentType === undefined) continue;
    const file = join(entry.parentPath, entry.name);
    const bytes = await readFile(file);
    total += bytes.length;
    if (total > bytesMax) break;
    const path = file.slice(folder.length).replaceAll("\\", "/");
    files.set(path.startsWith("/") ? path : `/${path}`, {
      bytes,
      contentType,
      etag: `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`,
      isImmutable: path.includes("assets/"),
    });
  }
  return files;
}
