/**
 * Path normalisation, so that policies and routes see what the application will see. The same steps
 * in the same order as Envoy: escaped slashes, RFC 3986 normalisation, merging of slashes.
 */

export type EscapedSlashes = "keep" | "reject" | "redirect" | "forward";

export interface PathRules {
  readonly normalize: boolean;
  readonly mergeSlashes: boolean;
  readonly escapedSlashes: EscapedSlashes;
}

export type PathResult =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "reject" }
  | { readonly kind: "redirect"; readonly path: string };

const rejected: PathResult = { kind: "reject" };

/** Whether `normalizePath()` could change or refuse this path: a cheap look before the work. */
export function isPlainPath(path: string): boolean {
  for (let at = 0; at < path.length; at++) {
    const unit = path.charCodeAt(at);
    if (unit === 0x3f) return true;
    if (unit === 0x25 || unit === 0x5c) return false;
    if (unit === 0x2f) {
      const next = path.charCodeAt(at + 1);
      if (next === 0x2f || next === 0x2e) return false;
    }
  }
  return true;
}

/** `path` starts with `/`; its query is left alone. */
export function normalizePath(path: string, rules: PathRules): PathResult {
  const queryAt = path.indexOf("?");
  let plain = queryAt < 0 ? path : path.slice(0, queryAt);
  const query = queryAt < 0 ? "" : path.slice(queryAt);
  let redirects = false;
  if (rules.escapedSlashes !== "keep" && /%2f|%5c/i.test(plain)) {
    if (rules.escapedSlashes === "reject") return rejected;
    plain = plain.replaceAll(/%2f/gi, "/").replaceAll(/%5c/gi, "\\");
    redirects = rules.escapedSlashes === "redirect";
  }
  if (rules.normalize) {
    const canonical = canonicalPath(plain);
    if (canonical === undefined) return rejected;
    plain = canonical;
  }
  if (rules.mergeSlashes) plain = plain.replaceAll(/\/{2,}/g, "/");
  if (redirects) return { kind: "redirect", path: plain + query };
  return { kind: "path", path: plain + query };
}

/** Dot segments removed, `\` read as `/`, unreserved characters unescaped; undefined for `%00` and broken escapes. */
function canonicalPath(path: string): string | undefined {
  const unescaped = path
    .replaceAll("\\", "/")
    .replaceAll(/%([0-9a-f]{2})/gi, (escape, digits: string) => {
      const character = String.fromCharCode(Number.parseInt(digits, 16));
      return /[A-Za-z0-9\-._~]/.test(character) ? character : escape.toUpperCase();
    });
  if (/%(?![0-9A-F]{2})/.test(unescaped) || unescaped.includes("%00")) return undefined;
  const kept: string[] = [];
  const segments = unescaped.split("/").slice(1);
  for (const [index, written] of segments.entries()) {
    // `..;x` climbs for readers that strip parameters first, so it does for us.
    const segment = /^(\.\.?);/.exec(written)?.[1] ?? written;
    const isLast = index === segments.length - 1;
    if (segment === "..") {
      if (kept.length === 0 && !isLast) continue;
      kept.pop();
      if (isLast) kept.push("");
    } else if (segment === ".") {
      if (isLast) kept.push("");
    } else {
      kept.push(segment);
    }
  }
  return `/${kept.join("/")}`;
}
