/** Fields whose names hold `_`: some servers read them as `-`, so one name can stand for another. */
import type { Http1Head } from "../../wire/http1-head.ts";

/** True when the request is to be refused for one; `drop` takes them away. */
export function hasUnderscores(head: Http1Head, action: "reject" | "drop"): boolean {
  for (let field = 0; field < head.count; field++) {
    if (!head.nameAt(field).includes("_")) continue;
    if (action === "reject") return true;
    head.dropped[field] = 1;
  }
  return false;
}
