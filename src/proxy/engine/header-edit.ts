/** A route's header changes as one function: each change is a call, in order, with nothing to decide. */
import type { CodeChoice } from "./condition-code.ts";
import { CodeScope, generate } from "./generated-code.ts";
import type { RequestView } from "./request.ts";
import type { HeaderOperation } from "./route-table.ts";

/** The headers of a message on its way. */
export interface EditableHeaders {
  has(name: string): boolean;
  add(name: string, value: string): void;
  set(name: string, value: string): void;
  remove(name: string): void;
  removeMatching(matches: (name: string) => boolean): void;
}

export type HeaderEdit = (headers: EditableHeaders, request: RequestView) => void;

/** Undefined where nothing changes. Compiled when it is first used: most routes never are. */
export function compileHeaderEdit(
  operations: readonly HeaderOperation[],
  { generatesCode = true }: CodeChoice = {},
): HeaderEdit | undefined {
  if (operations.length === 0) return undefined;
  let edit: HeaderEdit | undefined;
  return (headers, request) => {
    edit ??= (generatesCode ? generated(operations) : undefined) ?? closure(operations);
    edit(headers, request);
  };
}

function closure(operations: readonly HeaderOperation[]): HeaderEdit {
  return (headers, request) => {
    for (const operation of operations) apply(operation, headers, request);
  };
}

function apply(operation: HeaderOperation, headers: EditableHeaders, request: RequestView): void {
  if (operation.kind === "remove-matching") return headers.removeMatching(operation.matches);
  const { name } = operation;
  if (operation.kind === "remove") return headers.remove(name);
  const value = typeof operation.value === "string" ? operation.value : operation.value(request);
  if (value === "" && !operation.keepsEmpty) return;
  switch (operation.kind) {
    case "set":
      headers.set(name, value);
      break;
    case "add":
      headers.add(name, value);
      break;
    case "add-if-absent":
      if (!headers.has(name)) headers.add(name, value);
      break;
    case "overwrite-if-exists":
      if (headers.has(name)) headers.set(name, value);
      break;
  }
}

/** Names and values are arguments: routes whose changes are of the same kinds share a function. */
function generated(operations: readonly HeaderOperation[]): HeaderEdit | undefined {
  const scope = new CodeScope();
  const lines = operations.map((operation) => lineOf(operation, scope));
  // It takes what an edit takes and returns nothing.
  return generate("headers, request", ["let v;", ...lines].join("\n"), scope) as
    | HeaderEdit
    | undefined;
}

function lineOf(operation: HeaderOperation, scope: CodeScope): string {
  if (operation.kind === "remove-matching") {
    return `headers.removeMatching(${scope.argument(operation.matches)});`;
  }
  const name = scope.argument(operation.name);
  if (operation.kind === "remove") return `headers.remove(${name});`;
  const { kind, value, keepsEmpty } = operation;
  const given = scope.argument(value);
  const text = typeof value === "string" ? given : "v";
  const change = {
    set: `headers.set(${name}, ${text});`,
    add: `headers.add(${name}, ${text});`,
    "add-if-absent": `if (!headers.has(${name})) headers.add(${name}, ${text});`,
    "overwrite-if-exists": `if (headers.has(${name})) headers.set(${name}, ${text});`,
  }[kind];
  if (typeof value !== "string") {
    const made = `v = ${given}(request);`;
    return keepsEmpty ? `${made} ${change}` : `${made} if (v !== "") { ${change} }`;
  }
  return value === "" && !keepsEmpty ? "" : change;
}
