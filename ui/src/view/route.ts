/** Pages by the part of the address after the hash. */
export type Route =
  | { readonly page: "graph" }
  | { readonly page: "services" }
  | { readonly page: "service"; readonly namespace: string; readonly name: string }
  | { readonly page: "proxies" }
  | { readonly page: "proxy"; readonly proxy: string; readonly view: string }
  | { readonly page: "config"; readonly selected: string | undefined };

export function parseRoute(hash: string): Route {
  const [page = "", ...rest] = hash.replace(/^#\/?/, "").split("/").map(decode);
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
