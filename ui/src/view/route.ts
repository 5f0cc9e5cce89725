/** Pages by the part of the address after the hash. */
export type Route =
  | { readonly page: "graph" }
  | { readonly page: "services" }
  | { readonly page: "service"; readonly namespace: string; readonly name: string }
  | { readonly page: "proxies" }
  | { readonly page: "proxy"; readonly proxy: string; readonly view: string }
  | { readonly page: "config"; readonly selected: string | undefined };

export function parseRoute(hash: string): Route {
  const path = hash.split("?", 1)[0] ?? "";
  const [page = "", ...rest] = path.replace(/^#\/?/, "").split("/").map(decode);
  const [first, second] = rest;
  switch (page) {
    case "services":
      return first !== undefined && second !== undefined
        ? { page: "service", namespace: first, name: second }
        : { page: "services" };
    case "proxies":
      return first === undefined
        ? { page: "proxies" }
        : { page: "proxy", proxy: first, view: second ?? "listeners" };
    case "config":
      return { page: "config", selected: rest.length > 0 ? rest.join("/") : undefined };
    default:
      return { page: "graph" };
  }
}

/** Filters, after the page: `#/services?name=cart`. */
export function parseQuery(hash: string): Readonly<Record<string, string>> {
  const at = hash.indexOf("?");
  return at === -1 ? {} : Object.fromEntries(new URLSearchParams(hash.slice(at + 1)));
}

/** The same page with one filter changed, or taken out when it is empty. */
export function withQuery(hash: string, name: string, value: string): string {
  const query = new URLSearchParams(parseQuery(hash));
  if (value === "") query.delete(name);
  else query.set(name, value);
  const path = hash.split("?", 1)[0] ?? "";
  return `${path === "" ? "#/" : path}${query.size === 0 ? "" : `?${query.toString()}`}`;
}

/** What the browser's title says before the mesh's name. */
export function titleOf(route: Route): string {
  switch (route.page) {
    case "graph":
      return "Graph";
    case "services":
      return "Services";
    case "service":
      return `${route.name}, service`;
    case "proxies":
      return "Proxies";
    case "proxy":
      return `${route.proxy}, proxy`;
    case "config":
      return route.selected === undefined
        ? "Configuration"
        : `${route.selected.split("/").at(-1)}, configuration`;
  }
}

export function linkTo(...parts: readonly string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
