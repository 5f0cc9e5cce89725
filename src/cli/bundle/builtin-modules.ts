/**
 * Takes of Node's own modules what is used. An `import` of one reads each name that it has, among them
 * getters that load a whole module more: `node:crypto` brings WebCrypto, `node:stream` and `node:fs` their
 * promises. What is taken from `process.getBuiltinModule` loads nothing more, in each process of a mesh.
 */
import { isBuiltin } from "node:module";
import { join } from "node:path";

const prefix = "\0taken:";

export interface Taken {
  readonly id: string;
  readonly moduleSideEffects: false;
}

export interface BuiltinTaker {
  readonly name: string;
  /** Another id for what is Node's own. */
  readonly resolveId: (id: string, importer: string | undefined) => Taken | undefined;
  readonly load: (id: string) => string | undefined;
}

/** Of what our own sources import: packages may call for a module, and some are functions. */
export function takeBuiltins(root: string): BuiltinTaker {
  const sources = join(root, "src/");
  return {
    name: "builtin-modules",
    resolveId: (id, importer) =>
      id.startsWith("node:") && isBuiltin(id) && importer?.startsWith(sources) === true
        ? { id: `${prefix}${id}`, moduleSideEffects: false }
        : undefined,
    load: (id) => (id.startsWith(prefix) ? moduleOf(id.slice(prefix.length)) : undefined),
  };
}

/** Names that nobody asks for are left out by the bundler, because nothing else happens when they are read. */
function moduleOf(id: string): string {
  const all: unknown = process.getBuiltinModule(id);
  const names = typeof all === "object" || typeof all === "function" ? Object.keys(all ?? {}) : [];
  const taken = names.flatMap((name, at) =>
    name === "default"
      ? []
      : [
          `const taken${at} = /* @__PURE__ */ (() => all.${name})();`,
          `export { taken${at} as ${name} };`,
        ],
  );
  return [
    `const all = /* @__PURE__ */ process.getBuiltinModule(${JSON.stringify(id)});`,
    "export default all;",
    ...taken,
  ].join("\n");
}
