/**
 * What an authorization service's permission changes in a request, as far as the filter's rules let it.
 * A change that cannot be made makes the permission void: a request never passes changed by half.
 */
import type { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { isAuthority } from "../../wire/http1-framing.ts";
import {
  compileMutationRules,
  type MutationCheck,
  type MutationKind,
} from "../engine/mutation-rules.ts";
import { canStandInQuery, changeQuery } from "../engine/query-edit.ts";
import type { Decision } from "./ext-authz-service.ts";
import { framingFields } from "./framing-fields.ts";
import type { HttpRequest } from "./http-request.ts";

export type Permission = Extract<Decision, { kind: "allowed" }>;

/** False where a change cannot be made, or may not: the request is not to pass then. */
export type ApplyPermission = (request: HttpRequest, permission: Permission) => boolean;

type Change = readonly [name: string, value?: string];
/** False where it cannot be done. */
type Make = (name: string, value: string) => boolean;

const allAllowed: MutationCheck = () => "allowed";
/** What `validate_mutations` lets stand in a query: not even what is encoded, as in Envoy. */
const isPlain = /^[A-Za-z0-9*\-._]*$/;

export function compilePermission(
  { decoderHeaderMutationRules: rules, validateMutations }: ExtAuthz,
  path: string,
): ApplyPermission {
  const check =
    rules === undefined
      ? allAllowed
      : compileMutationRules(rules, `${path}.decoder_header_mutation_rules`);
  return (request, { set, append, join, remove, query }) => {
    const { headers } = request;
    /** Makes those that may be made; false where one is refused. */
    const each = (kind: MutationKind, changes: readonly Change[], make: Make): boolean =>
      changes.every(([name, value = ""]) => {
        const verdict = check(kind, name);
        return verdict === "allowed" ? make(name, value) : verdict === "passed-over";
      });
    const areMade =
      each("set", set, (name, value) => setField(request, name, value)) &&
      each("set", append, (name, value) => {
        headers.add(name, value);
        return true;
      }) &&
      each("append", join, (name, value) => joinField(request, name, value)) &&
      each(
        "remove",
        remove.map((name): Change => [name]),
        (name) => removeField(request, name),
      );
    if (!areMade) return false;
    if (query === undefined) return true;
    if (validateMutations && !query.set.flat().every((text) => isPlain.test(text))) return false;
    // CONNECT has no path.
    if (request.path !== "") request.changePath(changeQuery(request.path, query));
    return true;
  };
}

const tokenCharacters = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Both ends of a connection have to know how their messages end. */
const framingMethods: ReadonlySet<string> = new Set(["HEAD", "CONNECT"]);

/** As Envoy, what says whom the request is for, too; false for what would be no request. */
function setField(request: HttpRequest, name: string, value: string): boolean {
  switch (name) {
    case ":path":
      if (request.path === "" || !value.startsWith("/") || !canStandInQuery(value)) return false;
      request.changePath(value);
      return true;
    case ":authority":
    case "host": {
      const bytes = Buffer.from(value, "latin1");
      if (!isAuthority(bytes, 0, bytes.length)) return false;
      request.changeAuthority(value);
      return true;
    }
    case ":method":
      if (value === request.method) return true;
      if (!tokenCharacters.test(value)) return false;
      if (framingMethods.has(value) || framingMethods.has(request.method)) return false;
      request.changeMethod(value);
      return true;
    case ":scheme":
      if (value !== "http" && value !== "https") return false;
      request.scheme = value;
      return true;
    default:
      if (name.startsWith(":")) return false;
      request.headers.set(name, value);
      return true;
  }
}

/** What says whom a request is for stays, and what says where it ends. */
function removeField({ headers }: HttpRequest, name: string): boolean {
  const stays = name === "" || name.startsWith(":") || framingFields.has(name);
  if (!stays) headers.remove(name);
  return true;
}

/** Only to what there is. */
function joinField({ headers }: HttpRequest, name: string, value: string): boolean {
  if (name.startsWith(":") || name === "host") return false;
  const before = headers.get(name);
  if (before !== undefined) headers.set(name, `${before},${value}`);
  return true;
}

/** Whether a route may have to be looked for again; `names` undefined: by any change. */
export function changesRoute(
  { set, append, join, remove, query }: Permission,
  names: ReadonlySet<string> | undefined,
): boolean {
  if (query !== undefined) return true;
  const changed = [...[...set, ...append, ...join].map(([name]) => name), ...remove];
  return names === undefined ? changed.length > 0 : changed.some((name) => names.has(name));
}
