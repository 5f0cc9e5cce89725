import type { StateFiles } from "../../src/agent/io/state-files.ts";

/** A state folder in memory. */
export function memoryFiles(): StateFiles & { readonly content: Map<string, Buffer> } {
  const content = new Map<string, Buffer>();
  return {
    content,
    directory: "memory",
    path: (name) => `memory/${name}`,
    read: (name) => content.get(name),
    write: (name, bytes) => void content.set(name, Buffer.from(bytes)),
    remove: (name) => void content.delete(name),
  };
}
