import { parseQuery, parseRoute, type Route, withQuery } from "./view/route.ts";

/** The page in the address bar, after the hash, with its filters: every state is a link. */
class CurrentRoute {
  route: Route = $state.raw(parseRoute(location.hash));
  #query: Readonly<Record<string, string>> = $state.raw(parseQuery(location.hash));

  constructor() {
    const read = (): void => {
      this.route = parseRoute(location.hash);
      this.#query = parseQuery(location.hash);
    };
    addEventListener("hashchange", read);
    addEventListener("popstate", read);
  }

  /** A filter of this page; `otherwise` where the address says nothing. */
  filter(name: string, otherwise = ""): string {
    return this.#query[name] ?? otherwise;
  }

  /** Empty takes the filter out. What was chosen can be gone back from; what is typed cannot. */
  setFilter(name: string, value: string, how: "chosen" | "typed" = "chosen"): void {
    if ((this.#query[name] ?? "") === value) return;
    const hash = withQuery(location.hash, name, value);
    if (how === "chosen") history.pushState(undefined, "", hash);
    else history.replaceState(undefined, "", hash);
    this.#query = parseQuery(hash);
  }
}

export const current = new CurrentRoute();
