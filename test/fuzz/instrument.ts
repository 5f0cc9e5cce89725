/**
 * Counts branches: puts a counter at every place where a module's control flow can go one way or
 * another, while the module is loaded. V8's own coverage cannot be read often enough to guide a
 * search; a counter in a typed array costs next to nothing. Seeded bugs are put in here, too.
 */
import { registerHooks, stripTypeScriptTypes } from "node:module";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { parseAst } from "rolldown/parseAst";

export interface Branch {
  readonly file: string;
  readonly line: number;
  /**
   * `outside`: the fallback of an element that is not there (`bytes[i] ?? 0`). The type checker wants
   * it; whoever gets there has read past the end of something.
   */
  readonly kind: "branch" | "outside";
}

export interface Instrumented {
  /** How often each branch was taken, modulo 256. */
  readonly hits: Uint8Array;
  readonly branches: readonly Branch[];
}

/** A change to a module's text, which must occur in it exactly once. */
export interface SourceEdit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const branchesMax = 4096;
const place = "heddleBranchHits";

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** Call before the modules are imported. `files`: ends of their paths. */
export function instrument(files: readonly string[], edit?: SourceEdit): Instrumented {
  const hits = new Uint8Array(branchesMax);
  const branches: Branch[] = [];
  Object.assign(globalThis, { [place]: hits });
  registerHooks({
    load(url, context, next) {
      const file = files.find((one) => url.endsWith(`/${one}`));
      if (file === undefined) return next(url, context);
      const text = withEdit(readFileSync(fileURLToPath(url), "utf8"), file, edit);
      const counted = addCounters(text, file, branches);
      if (branches.length > branchesMax) throw new Error("too many branches");
      return { format: "module", source: stripTypeScriptTypes(counted), shortCircuit: true };
    },
  });
  return { hits, branches };
}

function withEdit(text: string, file: string, edit: SourceEdit | undefined): string {
  if (edit?.file !== file) return text;
  const parts = text.split(edit.from);
  if (parts.length !== 2) {
    throw new Error(`${file} holds ${parts.length - 1} times, not once: ${edit.from}`);
  }
  return parts.join(edit.to);
}

function addCounters(text: string, file: string, branches: Branch[]): string {
  const insertions: { readonly at: number; readonly text: string; readonly order: number }[] = [];
  const insert = (at: number, what: string): void => {
    insertions.push({ at, text: what, order: insertions.length });
  };
  const count = (at: number, kind: Branch["kind"] = "branch"): string => {
    branches.push({ file, line: text.slice(0, at).split("\n").length, kind });
    return `${place}[${branches.length - 1}]++`;
  };
  const expression = (node: Node, kind?: Branch["kind"]): void => {
    insert(node.start, `(${count(node.start, kind)},(`);
    insert(node.end, "))");
  };
  const statement = (node: Node, after = ""): void => {
    const isBlock = node.type === "BlockStatement";
    if (isBlock) insert(node.start + 1, `${count(node.start)};`);
    else insert(node.start, `{${count(node.start)};`);
    if (!isBlock || after !== "") insert(node.end, (isBlock ? "" : "}") + after);
  };
  walk(parseAst(text, { lang: "ts" }) as unknown as Node, (node) => {
    mark(node, { expression, statement, insert, count });
  });
  // Of two insertions at one place, what closes an inner node comes before what closes an outer one,
  // and what opens an outer one before what opens an inner one.
  const sorted = insertions.toSorted((a, b) => a.at - b.at || rank(a, b));
  let [result, from] = ["", 0];
  for (const { at, text: added } of sorted) {
    result += text.slice(from, at) + added;
    from = at;
  }
  return result + text.slice(from);
}

interface Placed {
  readonly text: string;
  readonly order: number;
}

function rank(a: Placed, b: Placed): number {
  const [closesA, closesB] = [closes(a), closes(b)];
  if (closesA !== closesB) return closesA ? -1 : 1;
  return closesA ? b.order - a.order : a.order - b.order;
}

function closes({ text }: Placed): boolean {
  return text.startsWith(")") || text.startsWith("}") || text.startsWith(" else");
}

interface Marks {
  readonly expression: (node: Node, kind?: Branch["kind"]) => void;
  /** `after`: what follows it. */
  readonly statement: (node: Node, after?: string) => void;
  readonly insert: (at: number, text: string) => void;
  readonly count: (at: number) => string;
}

function mark(node: Node, { expression, statement, insert, count }: Marks): void {
  const child = (key: string): Node => {
    const found = node[key];
    if (!isNode(found)) throw new Error(`${node.type} without ${key}`);
    return found;
  };
  switch (node.type) {
    case "IfStatement":
      if (isNode(node["alternate"])) {
        statement(child("consequent"));
        statement(child("alternate"));
      } else statement(child("consequent"), ` else {${count(node.end)};}`);
      return;
    case "ConditionalExpression":
      expression(child("consequent"));
      expression(child("alternate"));
      return;
    case "LogicalExpression":
      expression(child("right"), isFallback(node) ? "outside" : "branch");
      return;
    case "AssignmentExpression":
      if (["??=", "||=", "&&="].includes(String(node["operator"]))) expression(child("right"));
      return;
    case "SwitchCase": {
      const [first] = node["consequent"] as readonly Node[];
      insert(first?.start ?? node.end, `${count(node.start)};`);
      return;
    }
    case "WhileStatement":
    case "ForStatement":
    case "ForOfStatement":
      statement(child("body"));
      return;
    default:
      return;
  }
}

function isFallback(node: Node): boolean {
  const { left, right } = node;
  return (
    node["operator"] === "??" &&
    isNode(left) &&
    left.type === "MemberExpression" &&
    left["computed"] === true &&
    isNode(right) &&
    (right.type === "Literal" || right.type === "UnaryExpression")
  );
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

/** Types are no code; what is cast is. */
const casts = new Set(["TSAsExpression", "TSNonNullExpression", "TSSatisfiesExpression"]);

function walk(node: Node, visit: (node: Node) => void): void {
  if (node.type.startsWith("TS") && !casts.has(node.type)) return;
  visit(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) walk(child, visit);
    }
  }
}
