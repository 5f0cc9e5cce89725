/** Several resources of one kind, namespace and name: which is which, and what is said of them. */
import type { Problem, SourcePosition } from "../base/problem.ts";
import type { BrokenResource, ConfigResource } from "./config-resource.ts";
import { isSecurityKind } from "./kinds.ts";

export const duplicateCode = "config.duplicate-name";

/** Whether two resources of one name mean the same, wherever and however they are written. */
export function saysTheSame(one: ConfigResource, other: ConfigResource): boolean {
  return one === other || meaningOf(one) === meaningOf(other);
}

function meaningOf({ spec, labels, annotations }: ConfigResource): string {
  return JSON.stringify([spec, labels, annotations]);
}

/** A sound resource that may not act, as what is closed for want of it. */
export function brokenOf(resource: ConfigResource): BrokenResource {
  const { kind, namespace, name, source } = resource;
  const isPolicy = kind === "PeerAuthentication" || kind === "AuthorizationPolicy";
  const selector = isPolicy ? (resource.spec.selector ?? {}) : {};
  return { kind, namespace, name, selector, source };
}

/** `resource` does nothing, because the one at `acting` has its name. */
export function duplicateProblem(resource: ConfigResource, acting: SourcePosition): Problem {
  const { kind, namespace, name } = resource;
  const place = `${acting.file}:${acting.line}`;
  return problem(
    resource,
    `${kind} ${namespace}/${name} is already defined at ${place}, which acts; this one does not`,
  );
}

/** `resource` and the one at `other` disagree; what acts meanwhile is `lastGood`, or nothing. */
export function contestedProblem(
  resource: ConfigResource,
  other: SourcePosition,
  lastGood: ConfigResource | undefined,
): Problem {
  const { kind, namespace, name } = resource;
  const effect =
    lastGood === undefined
      ? isSecurityKind(kind)
        ? "neither acts, and the workloads they select deny every request"
        : "neither acts"
      : "the last good version keeps acting";
  const place = `${other.file}:${other.line}`;
  return problem(
    resource,
    `${kind} ${namespace}/${name} is also defined at ${place}; until one of them is gone ${effect}`,
  );
}

function problem(resource: ConfigResource, message: string): Problem {
  const { kind, namespace, name, source } = resource;
  return {
    code: duplicateCode,
    severity: "error",
    path: "metadata.name",
    message,
    hint: "rename one of them or take it out",
    source,
    resource: { kind, namespace, name },
  };
}
