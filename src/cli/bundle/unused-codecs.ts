/**
 * Leaves out of generated messages what nobody calls: each has four functions, and a proxy mostly decodes.
 * A bundler keeps all properties of an object that is used; a fifth of what a sidecar loads were these.
 * Calls are found by their form, `Message.encode`: whoever hands a message on may have it decode only.
 */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

const generated = "src/wire/gen/ts/";
const call = /\b([A-Z]\w*)\.(encode|create|fromPartial)\b/g;
const alias = /\b([A-Z]\w*) as ([A-Z]\w*)\b/g;
const message = /^export const (\w+): MessageFns<[^]*?^};\n/gm;
const method = /^ {2}(encode|create|fromPartial)[<(][^]*?^ {2}},\n/gm;

export interface CodecStripper {
  readonly name: string;
  /** The module's text without them; undefined where it is none of the generated ones. */
  readonly transform: (code: string, id: string) => string | undefined;
}

export function stripUnusedCodecs(root: string): CodecStripper {
  const called = findCalled(root);
  return {
    name: "unused-codecs",
    transform: (code, id) =>
      id.startsWith(join(root, generated)) ? withoutOthers(code, called) : undefined,
  };
}

/** `called`: `Message.function`. */
export function withoutOthers(code: string, called: ReadonlySet<string>): string {
  return code.replace(message, (text, name: string) =>
    text.replace(method, (body, kind: string) => (called.has(`${name}.${kind}`) ? body : "")),
  );
}

/** By the program, and by what that calls. A name stands for all messages of that name. */
function findCalled(root: string): ReadonlySet<string> {
  const read = (file: string): string => readFileSync(join(root, file), "utf8");
  const sources = globSync("src/**/*.ts", { cwd: root }).filter(
    (file) => !file.startsWith("src/wire/gen/") && !file.endsWith(".test.ts"),
  );
  const within = new Map<string, string[]>();
  for (const file of globSync(`${generated}**/*.ts`, { cwd: root })) {
    const code = read(file);
    const names = aliasesIn(code);
    for (const [text, name] of code.matchAll(message)) {
      for (const [body, kind] of text.matchAll(method)) {
        const key = `${name}.${kind}`;
        within.set(key, [...(within.get(key) ?? []), ...callsIn(body, names)]);
      }
    }
  }
  const called = new Set<string>();
  const waiting = sources.flatMap((file) => {
    const code = read(file);
    return code.includes("/gen/ts/") ? callsIn(code, aliasesIn(code)) : [];
  });
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (called.has(next)) continue;
    called.add(next);
    waiting.push(...(within.get(next) ?? []));
  }
  return called;
}

function callsIn(code: string, aliases: ReadonlyMap<string, string>): readonly string[] {
  return [...code.matchAll(call)].map(
    ([, name = "", kind]) => `${aliases.get(name) ?? name}.${kind}`,
  );
}

function aliasesIn(code: string): ReadonlyMap<string, string> {
  return new Map([...code.matchAll(alias)].map(([, name = "", as = ""]) => [as, name]));
}
