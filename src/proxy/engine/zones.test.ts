import assert from "node:assert/strict";
import { test } from "node:test";

import { type Zone, zoneChooser, type ZoneEvent, type ZoneRules } from "./zones.ts";

const usual: ZoneRules = {
  enabledPercent: 100,
  membersMin: 6,
  ownMin: undefined,
  countsWeights: false,
};

/** `a3 b1`: three healthy endpoints in zone a, one in b; `a3*2`: of weight 2. */
function zonesOf(text: string): readonly Zone[] {
  return text.split(" ").map((word) => {
    const [, name = "", count = "", weight = "1"] = /^(\D+)(\d+)(?:\*(\d+))?$/.exec(word) ?? [];
    const healthy = Array.from({ length: Number(count) }, () => ({ weight: Number(weight) }));
    return { name, members: healthy.length, healthy };
  });
}

/** `wanted`: of 10,000 choices, by zone; or why there is none. */
function check(
  what: string,
  { zones, local, rules }: { zones: string; local: string; rules?: Partial<ZoneRules> },
  wanted: string,
): void {
  test(`zoneChooser() ${what}`, () => {
    const events = new Map<ZoneEvent, number>();
    let step = 0;
    const list = zonesOf(zones);
    const draw = zoneChooser(list, {
      rules: { ...usual, ...rules },
      local: { own: "a", zones: zonesOf(local), fitPercent: 100 },
      count: (event) => events.set(event, (events.get(event) ?? 0) + 1),
    });
    if (draw === undefined) {
      events.delete("lb_recalculate_zone_structures");
      return assert.equal([...events.keys()].join(), wanted);
    }
    const found = list.map(() => 0);
    for (let i = 0; i < 10_000; i++) {
      // Evenly spread, and the second draw of a choice apart from the first.
      let draws = 0;
      const at = draw(() => (draws++ === 0 ? i / 10_000 : ((step++ * 7919) % 9973) / 9973));
      found[at] = (found[at] ?? 0) + 1;
    }
    const rounded = list.map(({ name }, i) => `${name} ${Math.round((found[i] ?? 0) / 100)}`);
    assert.equal(rounded.join(", "), wanted);
  });
}

check("keeps all in a zone that can carry it", { zones: "a3 b3", local: "a2 b2" }, "a 100, b 0");
check("spills what the own zone cannot carry", { zones: "a2 b4", local: "a2 b2" }, "a 67, b 33");
check(
  "spills to where there is room alone",
  { zones: "a2 b2 c6", local: "a4 b2 c4" },
  "a 50, b 0, c 50",
);
check(
  "goes elsewhere where the own zone has nobody",
  { zones: "b3 c3", local: "a2 b1 c1" },
  "b 50, c 50",
);
check("says nothing with one zone", { zones: "a6", local: "a2 b2" }, "");
check("says nothing where all proxies are in one zone", { zones: "a3 b3", local: "a2" }, "");
check(
  "wants a proxy in the own zone",
  { zones: "a3 b3", local: "b2 c2" },
  "lb_local_cluster_not_ok",
);
check("wants enough endpoints", { zones: "a2 b3", local: "a2 b2" }, "lb_zone_cluster_too_small");
check(
  "stays in the own zone where it is told to",
  { zones: "a1 b9", local: "a2", rules: { ownMin: 1 } },
  "a 100, b 0",
);
check(
  "does not where too few are there",
  { zones: "a1 b9", local: "a2 b2", rules: { ownMin: 2 } },
  "a 20, b 80",
);
check(
  "compares weights where it is told to",
  { zones: "a3*3 b3", local: "a2 b2", rules: { countsWeights: true } },
  "a 100, b 0",
);
