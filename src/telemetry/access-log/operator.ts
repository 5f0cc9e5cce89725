/** What operators of access-log formats have in common. */
import type { JsonValue, RequestRecord } from "../request-record.ts";

export type { JsonValue };

/** Undefined means there is nothing to say (`-` in text, `null` in JSON). */
export type OperatorValue = JsonValue | undefined;

/** There can be no such value: an empty text, and `null` in JSON. As Envoy has ports of Unix sockets. */
export const impossible: JsonValue = Object.freeze([]);

export type Operator = (record: RequestRecord) => OperatorValue;

/** The operator for what stands in its parentheses, or why there is none. */
export type OperatorMaker = (argument: string) => Operator | string;

/** What formats need from outside to compile. */
export interface FormatExtensions {
  /** `%HOSTNAME%`. */
  readonly hostName?: string;
  /** `%ENVIRONMENT(NAME)%`: of this process. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** `%CEL(…)%`: a value of an expression as text, or why it is refused. */
  readonly compileCel?: (expression: string) => Operator | string;
  /** `%TYPED_CEL(…)%`: numbers and truth stay what they are, in JSON. */
  readonly compileTypedCel?: (expression: string) => Operator | string;
  /** `%LOCAL_REPLY_BODY%`: of the answer in hand. */
  readonly localReplyBody?: () => string;
}

export function present(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

/** Envoy writes some texts as one word, so that a line can be split at blanks. */
export function presentWord(text: string): string | undefined {
  if (text === "") return undefined;
  return text.includes(" ") ? text.replaceAll(" ", "_") : text;
}

export function list(values: readonly string[]): string | undefined {
  return values.length < 2 ? values[0] : values.join(",");
}
