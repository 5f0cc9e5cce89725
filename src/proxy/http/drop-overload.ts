/** How requests are turned away that an endpoint assignment asks to be dropped, as by Envoy. */
import type { FailureKind } from "./failure.ts";
import type { ReplyChanges } from "./filter.ts";

type Dropped = readonly [FailureKind, ReplyChanges];

const some: Dropped = ["drop-overload", { headers: [["x-envoy-drop-overload", "true"]] }];
const all: Dropped = ["drop-all", { headers: [["x-envoy-unconditional-drop-overload", "true"]] }];

/** `share`: of all requests, up to 1. */
export function droppedAs(share: number): Dropped {
  return share < 1 ? some : all;
}
