import type { ResourceRef } from "../base/problem.ts";
import type { ConfigResource } from "../console/api.ts";
import { kindAskedFor } from "../model/kinds.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

/** `vs`, `virtualservice` and `VirtualServices` as the mesh calls the kind; what is no kind stays as it is. */
export function kindNamed(text: string): string {
  return kindAskedFor(text) ?? text;
}

export interface ResourceName {
  readonly kind: string;
  readonly name: string | undefined;
}

/** `KIND`, `KIND NAME` or `KIND/NAME`. */
export function parseResourceName(kind: string, name: string | undefined): ResourceName {
  const [beforeSlash = "", afterSlash] = kind.split("/", 2);
  if (afterSlash !== undefined && name !== undefined) {
    throw new CommandFailure(exitCodes.usage, `write ${beforeSlash}/NAME or KIND NAME, not both`);
  }
  return { kind: kindNamed(beforeSlash), name: afterSlash ?? name };
}

/** The one resource a user means; fails, saying what exists, when it is none or several. */
export function onlyResource(found: readonly ConfigResource[], what: string): ResourceRef {
  const [first, ...others] = found;
  if (first === undefined) throw new CommandFailure(exitCodes.findings, `there is no ${what}`);
  if (others.length > 0) {
    const places = found.map(({ ref }) => `${ref.namespace}/${ref.name}`).join(", ");
    throw new CommandFailure(
      exitCodes.usage,
      `${what} exists in several namespaces (${places}); add --namespace`,
    );
  }
  return first.ref;
}
