import { parseRoute, type Route } from "./view/route.ts";

/** The page in the address bar, after the hash: every state is a link. */
class CurrentRoute {
  route: Route = $state.raw(parseRoute(location.hash));

  constructor() {
    addEventListener("hashchange", () => (this.route = parseRoute(location.hash)));
  }
}

export const current = new CurrentRoute();
