/**
 * URI templates of routes and policies: `*` is a segment, `**` any number of them, `{name}` and
 * `{name=a/*}` are what a rewrite may name. A template becomes a regular expression.
 */
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import { UriTemplateMatchConfig } from "../../wire/gen/ts/envoy/extensions/path/match/uri_template/v3/uri_template_match.ts";
import { UriTemplateRewriteConfig } from "../../wire/gen/ts/envoy/extensions/path/rewrite/uri_template/v3/uri_template_rewrite.ts";
import { refuse } from "./refusal.ts";
import { compileSubstitution, type TooCostly } from "./regex-substitution.ts";
import { compileRegex } from "./regex.ts";
import type { TextTest } from "./text-test.ts";

export interface UriTemplate {
  readonly pattern: string;
  /** In the order of their groups. */
  readonly names: readonly string[];
}

/** What a path may be made of: RFC 3986's `pchar`, without `*`. */
const characters = "a-zA-Z0-9\\-._~%!$&'()+,;:@=";
const isLiteral = new RegExp(`^[${characters}]+$`);
const isRewriteLiteral = new RegExp(`^[${characters}/]*$`);
const isName = /^[a-zA-Z][a-zA-Z0-9_]{0,15}$/;
const oneSegment = `[${characters}]+`;
const anySegments = `[${characters}/]*`;
const namesMax = 5;

const prefix = "type.googleapis.com/envoy.extensions.path.";

export function compileTemplateTest(template: UriTemplate, path: string): TextTest {
  return { kind: "regex", regex: compileRegex({ regex: template.pattern }, path) };
}

export function templateOf({ typedConfig }: TypedExtensionConfig, path: string): UriTemplate {
  const place = `${path}.typed_config`;
  if (typedConfig?.typeUrl !== `${prefix}match.uri_template.v3.UriTemplateMatchConfig`) {
    return refuse(place, `'${typedConfig?.typeUrl ?? ""}' is not supported`);
  }
  const { pathTemplate } = UriTemplateMatchConfig.decode(typedConfig.value);
  return parseTemplate(pathTemplate, `${place}.path_template`);
}

/** Of a path that the template matches. */
export function compileTemplateRewrite(
  { typedConfig }: TypedExtensionConfig,
  template: UriTemplate | undefined,
  path: string,
): (text: string) => string | TooCostly {
  const place = `${path}.typed_config`;
  if (typedConfig?.typeUrl !== `${prefix}rewrite.uri_template.v3.UriTemplateRewriteConfig`) {
    return refuse(place, `'${typedConfig?.typeUrl ?? ""}' is not supported`);
  }
  if (template === undefined) return refuse(place, "needs a match by a URI template");
  const { pathTemplateRewrite } = UriTemplateRewriteConfig.decode(typedConfig.value);
  const at = `${place}.path_template_rewrite`;
  if (!pathTemplateRewrite.startsWith("/")) refuse(at, "must begin with a slash");
  const substitution = pathTemplateRewrite.replaceAll(/\{([^{}]*)\}/g, (_whole, name: string) => {
    const group = template.names.indexOf(name) + 1;
    return group === 0 ? refuse(at, `the match has no '${name}'`) : `\\${group}`;
  });
  const literal = pathTemplateRewrite.replaceAll(/\{[^{}]*\}/g, "");
  if (!isRewriteLiteral.test(literal)) refuse(at, "holds what cannot stand in a path");
  return compileSubstitution({ pattern: { regex: `^${template.pattern}$` }, substitution }, at);
}

function parseTemplate(text: string, path: string): UriTemplate {
  const template = new TemplateReader(text, path);
  return template.read();
}

class TemplateReader {
  readonly #path: string;
  readonly #text: string;
  readonly #names: string[] = [];
  /** Nothing that takes a variable number of characters may follow `**`. */
  #isOpen = false;

  constructor(text: string, path: string) {
    this.#text = text;
    this.#path = path;
  }

  read(): UriTemplate {
    if (!/^\/[\x21-\x7e]*$/.test(this.#text)) {
      refuse(this.#path, "must begin with a slash, and be printable");
    }
    let rest = this.#text.slice(1);
    let pattern = "/";
    while (rest !== "") {
      const [made, after] = this.#segment(rest);
      pattern += made;
      rest = after;
      if (rest === "") break;
      if (!rest.startsWith("/")) {
        // What follows an operator in its segment ends the template.
        pattern += this.#literal(rest);
        break;
      }
      pattern += "/";
      rest = rest.slice(1);
    }
    return { pattern, names: this.#names };
  }

  #segment(text: string): readonly [pattern: string, rest: string] {
    const variable = /^\{([^}=]*)(?:=([^}]*))?\}/.exec(text);
    if (variable !== null) {
      const [whole, name = "", parts = "*"] = variable;
      return [this.#variable(name, parts), text.slice(whole.length)];
    }
    const operator = /^\*{1,2}/.exec(text)?.[0];
    if (operator !== undefined) return [this.#operator(operator), text.slice(operator.length)];
    const end = text.indexOf("/");
    const literal = end < 0 ? text : text.slice(0, end);
    return [this.#literal(literal), text.slice(literal.length)];
  }

  #variable(name: string, parts: string): string {
    if (!isName.test(name)) refuse(this.#path, `'${name}' is no name of a variable`);
    if (this.#names.includes(name)) refuse(this.#path, `'${name}' stands in it twice`);
    this.#names.push(name);
    if (this.#names.length > namesMax) refuse(this.#path, `has more than ${namesMax} variables`);
    const made = parts.split("/").map((part) => {
      return part === "*" || part === "**" ? this.#operator(part) : this.#literal(part);
    });
    return `(${made.join("/")})`;
  }

  #operator(operator: string): string {
    if (this.#isOpen) refuse(this.#path, "nothing may be left open after **");
    this.#isOpen = operator === "**";
    return this.#isOpen ? anySegments : oneSegment;
  }

  #literal(text: string): string {
    if (!isLiteral.test(text)) refuse(this.#path, `'${text}' cannot stand in a path`);
    return text.replaceAll(/[$()+.]/g, "\\$&");
  }
}
