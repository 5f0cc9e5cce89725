/** Pieces of a request that rules ask for by name: query parameters and cookies. */
import type { RequestView } from "./request.ts";

/** The first value of a query parameter, as written; a key without `=` has the empty value. */
export function queryValue(path: string, name: string): string | undefined {
  const start = path.indexOf("?");
  if (start < 0) return undefined;
  const fragment = path.indexOf("#", start);
  const query = path.slice(start + 1, fragment < 0 ? path.length : fragment);
  for (const pair of query.split("&")) {
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    if (key === name) return equals < 0 ? "" : pair.slice(equals + 1);
  }
  return undefined;
}

/** The first of that name, on whichever line. */
export function cookieValue(request: RequestView, name: string): string | undefined {
  const header = request.header("cookie");
  if (header === undefined) return undefined;
  for (const line of request.lines?.("cookie") ?? [header]) {
    const value = cookieOf(line, name);
    if (value !== undefined) return value;
  }
  return undefined;
}

/**
 * As Envoy: cookies are told apart by semicolons alone, and but for blanks before a name everything belongs to name and
 * value. Read more generously, `a=b,c=d` would be another cookie here than for the application.
 */
export function cookieOf(line: string, name: string): string | undefined {
  for (const pair of line.split(";")) {
    const equals = pair.indexOf("=");
    if (equals < 0) continue;
    let start = 0;
    while (pair.charCodeAt(start) === 0x20) start++;
    if (pair.slice(start, equals) !== name) continue;
    const value = pair.slice(equals + 1);
    return value.length >= 2 && value.startsWith('"') && value.endsWith('"')
      ? value.slice(1, -1)
      : value;
  }
  return undefined;
}
