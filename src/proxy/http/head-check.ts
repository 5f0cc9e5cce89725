import { frameRequest } from "../../wire/http1-framing.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { type FailureKind, headFailures } from "./failure.ts";
import type { HttpSettings } from "./settings.ts";
import { hasUnderscores } from "./underscores.ts";

/** Why a head is refused before what it asks for is looked at. `homeless`: nobody serves its connection. */
export function checkHead(
  head: Http1Head,
  settings: HttpSettings,
  homeless: FailureKind | undefined,
): FailureKind | undefined {
  if (head.error !== undefined) return headFailures[head.error];
  if (homeless !== undefined) return homeless;
  if (head.minorVersion === 0 && !settings.isHttp10Allowed) return "low-version";
  const error = frameRequest(head);
  if (error !== undefined) return headFailures[error];
  if (settings.underscores !== "allow" && hasUnderscores(head, settings.underscores)) {
    return "underscore";
  }
  return undefined;
}
