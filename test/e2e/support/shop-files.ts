/** The sample shop as it lies in samples/shop, but for the host's ports: any free ones. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const shop = join(import.meta.dirname, "../../../samples/shop");

/** Name below the folder → text. */
export function shopFiles(): Readonly<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(shop, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files[path.slice(shop.length + 1)] = readFileSync(path, "utf8");
  }
  const mesh = files["heddle.yaml"] ?? "";
  files["heddle.yaml"] = mesh
    .replace("port: 9977", "port: 0")
    .replace("hostPort: 8080", "hostPort: 0");
  return files;
}
