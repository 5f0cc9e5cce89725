/** Conditions as closures: where code must not be generated, and for what is asked rarely. */
import type { Condition, TextSource } from "./condition.ts";
import { stateText } from "./filter-state.ts";
import { isWithin } from "./ip.ts";
import { isPrincipal } from "./principal.ts";
import type { RequestView } from "./request.ts";
import { cookieValue, queryValue } from "./request-text.ts";
import { type TextPredicate, textPredicate } from "./text-test.ts";

/** `path` is the request's path without query and fragment, computed once per request. */
export type RequestPredicate = (
  request: RequestView,
  path: string,
  random: () => number,
) => boolean;

export function conditionClosure(condition: Condition): RequestPredicate {
  switch (condition.kind) {
    case "always":
      return () => true;
    case "never":
      return () => false;
    case "all":
      return allClosure(condition.of.map(conditionClosure));
    case "any":
      return anyClosure(condition.of.map(conditionClosure));
    case "not": {
      const inner = conditionClosure(condition.of);
      return (request, path, random) => !inner(request, path, random);
    }
    case "text": {
      const textOf = sourceClosure(condition.source);
      const test = textPredicate(condition.test);
      const { isInverted, whenMissing, isByLine, source } = condition;
      if (isByLine === true && source.kind === "header") {
        const { name } = source;
        return (request) => {
          const text = request.header(name);
          if (text === undefined) return whenMissing;
          return holdsOfLine(request, name, text, test) !== isInverted;
        };
      }
      return (request, path) => {
        const text = textOf(request, path);
        return text === undefined ? whenMissing : test(text) !== isInverted;
      };
    }
    case "present": {
      const textOf = sourceClosure(condition.source);
      const { isPresent } = condition;
      return (request, path) => (textOf(request, path) !== undefined) === isPresent;
    }
    case "connect":
      return (request) => request.method === "CONNECT";
    case "metadata": {
      const { matches } = condition;
      return (request) => matches(request.metadata);
    }
    case "expression": {
      const { holds } = condition;
      return ({ record }) => record !== undefined && holds(record);
    }
    case "fraction": {
      const { share } = condition;
      return (_request, _path, random) => random() < share;
    }
    case "server-name":
    case "port":
    case "address":
    case "certificate":
    case "peer":
    case "principal":
      return connectionClosure(condition);
  }
}

/** `text` is all of the header. What has no comma stands on one line. */
export function holdsOfLine(
  request: RequestView,
  ...[name, text, test]: [name: string, text: string, test: TextPredicate]
): boolean {
  const lines = text.includes(",") ? request.lines?.(name) : undefined;
  return lines === undefined ? test(text) : lines.some((line) => test(line));
}

type ConnectionCondition = Extract<
  Condition,
  { kind: "server-name" | "port" | "address" | "certificate" | "peer" | "principal" }
>;

function connectionClosure(condition: ConnectionCondition): RequestPredicate {
  switch (condition.kind) {
    case "server-name": {
      const test = textPredicate(condition.test);
      return (request) => test(request.connection.sni ?? "");
    }
    case "port": {
      const { from, until } = condition;
      return ({ connection: { destinationPort } }) =>
        destinationPort >= from && destinationPort < until;
    }
    case "address": {
      const { of, range } = condition;
      if (of === "direct") {
        return ({ connection: { direct, sourceAddress } }) =>
          isWithin(direct?.address ?? sourceAddress, range);
      }
      if (of === "source") {
        return (request) => isWithin(request.connection.sourceAddress, range);
      }
      if (of === "destination") {
        return (request) => isWithin(request.connection.destinationAddress, range);
      }
      return ({ connection, remoteAddress = connection.sourceAddress }) =>
        isWithin(remoteAddress, range);
    }
    case "certificate": {
      if (condition.isValidated) {
        return ({ connection }) => connection.peerCertificate === "validated";
      }
      return ({ connection }) => connection.peerCertificate !== undefined;
    }
    case "peer": {
      if (condition.test === undefined) {
        return (request) => request.connection.peerUriSans.length > 0;
      }
      const test = textPredicate(condition.test);
      return (request) => request.connection.peerUriSans.some(test);
    }
    case "principal": {
      if (condition.test === undefined) return ({ connection }) => connection.isTls;
      const test = textPredicate(condition.test);
      return ({ connection }) => isPrincipal(connection, test);
    }
  }
}

function sourceClosure(
  source: TextSource,
): (request: RequestView, path: string) => string | undefined {
  switch (source.kind) {
    case "path":
      return (_request, path) => path;
    case "route-path":
      return (request, path) => (path === "" || request.method === "CONNECT" ? undefined : path);
    case "header": {
      const { name } = source;
      return (request) => request.header(name);
    }
    case "query": {
      const { name } = source;
      return (request) => queryValue(request.path, name);
    }
    case "cookie": {
      const { name } = source;
      return (request) => cookieValue(request, name);
    }
    case "state": {
      const { name } = source;
      return (request) => stateText(request, name);
    }
    case "computed":
      return source.textOf;
  }
}

function anyClosure(predicates: readonly RequestPredicate[]): RequestPredicate {
  return (request, path, random) => {
    for (const predicate of predicates) if (predicate(request, path, random)) return true;
    return false;
  };
}

function allClosure(predicates: readonly RequestPredicate[]): RequestPredicate {
  return (request, path, random) => {
    for (const predicate of predicates) if (!predicate(request, path, random)) return false;
    return true;
  };
}
