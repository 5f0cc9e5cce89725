/** Header changes of one level (route, virtual host …), in Envoy's order: removals, then additions. */
import {
  HeaderValueOption_HeaderAppendAction as AppendAction,
  type HeaderValueOption,
} from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { HeaderMutation } from "../../wire/gen/ts/envoy/config/common/mutation_rules/v3/mutation_rules.ts";
import { bytesOf } from "../../base/latin1.ts";
import { compileHeaderFormat } from "./header-format.ts";
import { refuse } from "./refusal.ts";
import type { HeaderOperation } from "./route-table.ts";
import { textTestOf } from "./string-matcher.ts";
import { lowerAscii, textPredicate } from "./text-test.ts";

interface HeaderLevel {
  readonly requestHeadersToAdd: readonly HeaderValueOption[];
  readonly requestHeadersToRemove: readonly string[];
  readonly responseHeadersToAdd: readonly HeaderValueOption[];
  readonly responseHeadersToRemove: readonly string[];
}

export interface HeaderChanges {
  readonly request: readonly HeaderOperation[];
  readonly response: readonly HeaderOperation[];
}

export function compileHeaderLevel(level: HeaderLevel, path: string): HeaderChanges {
  return {
    request: [
      ...compileRemovals(level.requestHeadersToRemove, `${path}request_headers_to_remove`),
      ...compileAdditions(level.requestHeadersToAdd, `${path}request_headers_to_add`),
    ],
    response: [
      ...compileRemovals(level.responseHeadersToRemove, `${path}response_headers_to_remove`),
      ...compileAdditions(level.responseHeadersToAdd, `${path}response_headers_to_add`),
    ],
  };
}

function compileRemovals(names: readonly string[], path: string): HeaderOperation[] {
  return names.map((name, i) => ({ kind: "remove", name: changeable(name, `${path}[${i}]`) }));
}

export function compileAdditions(
  options: readonly HeaderValueOption[],
  path: string,
): HeaderOperation[] {
  return options.flatMap((option, i): HeaderOperation[] => {
    const place = `${path}[${i}]`;
    const name = changeable(option.header?.key ?? "", `${place}.header.key`);
    const raw = option.header?.rawValue ?? new Uint8Array(0);
    const isRaw = raw.length > 0;
    const text = isRaw ? bytesToText(raw) : bytesOf(option.header?.value ?? "");
    const value = compileHeaderFormat(text, `${place}.header.value`);
    if (value === "" && !option.keepEmptyValue) return [];
    return [{ kind: kindOf(option, place), name, value, keepsEmpty: option.keepEmptyValue }];
  });
}

/** Changes as filters say them, in order. */
export function compileMutations(
  mutations: readonly HeaderMutation[],
  path: string,
): HeaderOperation[] {
  return mutations.flatMap((mutation, i): readonly HeaderOperation[] => {
    const place = `${path}[${i}]`;
    const { remove, append, removeOnMatch } = mutation;
    if (remove !== undefined) return compileRemovals([remove], place);
    if (append !== undefined) return compileAdditions([append], `${place}.append`);
    const matcher = removeOnMatch?.keyMatcher;
    if (matcher === undefined) return refuse(place, "changes nothing");
    const test = textPredicate(textTestOf(matcher, `${place}.remove_on_match.key_matcher`));
    return [{ kind: "remove-matching", matches: (name) => name !== "host" && test(name) }];
  });
}

function kindOf(
  option: HeaderValueOption,
  path: string,
): Exclude<HeaderOperation["kind"], "remove" | "remove-matching"> {
  if (option.append !== undefined) return option.append ? "add" : "set";
  switch (option.appendAction) {
    case AppendAction.APPEND_IF_EXISTS_OR_ADD:
      return "add";
    case AppendAction.ADD_IF_ABSENT:
      return "add-if-absent";
    case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
      return "set";
    case AppendAction.OVERWRITE_IF_EXISTS:
      return "overwrite-if-exists";
    case AppendAction.UNRECOGNIZED:
    default:
      return refuse(`${path}.append_action`, `${option.appendAction} is not known`);
  }
}

function changeable(name: string, path: string): string {
  const lower = lowerAscii(name);
  if (lower === "") refuse(path, "a header name is required");
  if (lower.startsWith(":") || lower === "host") {
    refuse(path, `'${lower}' may only be changed by a rewrite`);
  }
  if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(lower)) refuse(path, `'${lower}' is no header name`);
  return lower;
}

function bytesToText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
