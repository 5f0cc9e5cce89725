/** Parts of an HTTP route that change a request or answer it: headers, redirects, retries. */
import { duration, flag, headerName, integer, portNumber, text, oneOf } from "./scalar-types.ts";
import type { Place, Type } from "./schema.ts";
import { list, object, record, refine } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";

export interface HeaderChanges {
  readonly set?: Readonly<Record<string, string>>;
  readonly add?: Readonly<Record<string, string>>;
  readonly remove?: readonly string[];
}

export interface HeadersOperations {
  readonly request?: HeaderChanges;
  readonly response?: HeaderChanges;
}

const headerValues: Type<Readonly<Record<string, string>>> = refine(
  record(text),
  (values, node, place) => {
    for (const [name, value] of Object.entries(values)) checkHeader(name, value, node, place);
    return values;
  },
);

function checkHeader(name: string, value: string, node: YamlNode, place: Place): void {
  if (name.startsWith(":") || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) {
    const message = `${JSON.stringify(name)} cannot be set`;
    place.complain(node.position, { code: "config.bad-header-name", message });
  }
  // The data plane reads %COMMAND(…)%; a lone % would make it refuse the whole route table.
  if (value.replaceAll(/%%|%[A-Z_0-9]+(?:\([^)%]*\))?(?::[0-9]+)?%/g, "").includes("%")) {
    place.complain(node.position, {
      code: "config.bad-header-value",
      message: `the value of ${name} holds a single %`,
      hint: "write %% for a percent sign",
    });
  }
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)) {
    const message = `the value of ${name} holds control characters`;
    place.complain(node.position, { code: "config.bad-header-value", message });
  }
}

const headerChanges: Type<HeaderChanges> = object<HeaderChanges>({
  set: headerValues,
  add: headerValues,
  remove: list(headerName),
});

export const headersOperations: Type<HeadersOperations> = object<HeadersOperations>({
  request: headerChanges,
  response: headerChanges,
});

export interface HttpRedirect {
  readonly uri?: string;
  readonly prefixRewrite?: string;
  readonly authority?: string;
  readonly port?: number;
  readonly derivePort?: "FROM_PROTOCOL_DEFAULT" | "FROM_REQUEST_PORT";
  readonly scheme?: string;
  readonly redirectCode?: number;
}

export const httpRedirect: Type<HttpRedirect> = object<HttpRedirect>(
  {
    uri: text,
    prefixRewrite: text,
    authority: text,
    port: portNumber,
    derivePort: oneOf("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
    scheme: oneOf("http", "https"),
    redirectCode: refine(integer(), (value, node, place) =>
      [301, 302, 303, 307, 308].includes(value)
        ? value
        : place.complain(node.position, {
            code: "config.out-of-range",
            message: `${value} is not a redirect`,
            hint: "use 301, 302, 303, 307 or 308",
          }),
    ),
  },
  {
    oneOf: [
      ["port", "derivePort"],
      ["uri", "prefixRewrite"],
    ],
  },
);

export interface HttpRetry {
  /** Tries after the first; 0 turns retries off. */
  readonly attempts?: number;
  readonly perTryTimeout?: number;
  readonly retryOn?: string;
  readonly retryIgnorePreviousHosts?: boolean;
  readonly backoff?: number;
}

const retryConditions = new Set(
  (
    "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx " +
    "refused-stream retriable-status-codes retriable-headers http3-post-connect-failure cancelled " +
    "deadline-exceeded internal resource-exhausted unavailable"
  ).split(" "),
);

const retryOn: Type<string> = refine(text, (value, node, place) => {
  for (const condition of value.split(",").map((part) => part.trim())) {
    const isStatus = /^[1-5][0-9]{2}$/.test(condition);
    if (condition === "" || isStatus || retryConditions.has(condition)) continue;
    const message = `${condition} is no condition for retries`;
    const hint = `known: ${[...retryConditions].join(", ")}, and HTTP statuses`;
    place.complain(node.position, { code: "config.bad-enum", message, hint });
  }
  return value;
});

export const httpRetry: Type<HttpRetry> = object<HttpRetry>(
  {
    attempts: integer({ min: 0, max: 100 }),
    perTryTimeout: duration({ minMs: 1 }),
    retryOn,
    retryIgnorePreviousHosts: flag,
    backoff: duration({ minMs: 1 }),
  },
  {
    unhonoured: {
      retryRemoteLocalities: { effect: "lets retries leave the locality", rest: "acts" },
    },
    check(retry, node, place) {
      if (retry.attempts !== undefined) return;
      place.complain(node.position, {
        code: "config.no-effect",
        severity: "warning",
        message: "retries without attempts are off, as in Istio",
        hint: "write attempts: 2, or attempts: 0 to say that they are off",
      });
    },
  },
);
