import assert from "node:assert/strict";
import { test } from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { StringValue } from "../../wire/gen/ts/google/protobuf/wrappers.ts";
import type { Matcher } from "../../wire/gen/ts/xds/type/matcher/v3/matcher.ts";
import { compileFilterChains } from "./filter-chains.ts";

type Tree = Fields<Matcher>;
type OnMatch = NonNullable<Tree["onNoMatch"]>;

const input = (name: string) => ({
  name,
  typedConfig: {
    typeUrl: `type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.${name}`,
    value: new Uint8Array(0),
  },
});
const to = (chain: string): OnMatch => ({
  action: {
    name: chain,
    typedConfig: {
      typeUrl: "type.googleapis.com/google.protobuf.StringValue",
      value: StringValue.encode({ value: chain }).finish(),
    },
  },
});
const within = (matcher: Tree): OnMatch => ({ matcher });
const byText = (name: string, map: Record<string, OnMatch>, rest?: OnMatch): Tree => ({
  matcherTree: { input: input(name), exactMatchMap: { map } },
  ...(rest === undefined ? {} : { onNoMatch: rest }),
});

function chosenBy(tree: Tree, names: readonly string[]) {
  const listener = message(Listener, {
    filterChains: names.map((name) => ({ name })),
    defaultFilterChain: { name: "default" },
    filterChainMatcher: tree,
  });
  const selector = compileFilterChains(listener);
  return (sni: string | undefined, port = 443, transportProtocol: "tls" | "raw_buffer" = "tls") =>
    selector.match({
      destinationAddress: "198.18.0.9",
      destinationPort: port,
      sni,
      transportProtocol,
      applicationProtocols: [],
      directSourceAddress: "198.18.0.7",
      sourceAddress: "198.18.0.7",
      sourcePort: 40_000,
      isLocalSource: false,
    })?.name;
}

test("match() finds the chain of each of many names", () => {
  const names = Array.from({ length: 2000 }, (_, i) => `host-${i}.test`);
  const map = Object.fromEntries(names.map((name) => [name, to(name)]));
  const chosen = chosenBy(byText("ServerNameInput", map), names);
  for (const name of names) assert.equal(chosen(name), name);
  assert.equal(chosen("host-2000.test"), "default");
  assert.equal(chosen("__proto__"), "default");
  assert.equal(chosen(undefined), "default");
});

test("match() lets what stands behind a branch decide where that finds nothing", () => {
  const chosen = chosenBy(
    byText(
      "ServerNameInput",
      {
        "a.test": within(
          byText("DestinationPortInput", {
            "443": within(byText("TransportProtocolInput", { tls: to("a tls") })),
            "80": to("a plain"),
          }),
        ),
        "b.test": to("b"),
      },
      within(byText("DestinationPortInput", { "443": to("any tls") }, to("any"))),
    ),
    ["a tls", "a plain", "b", "any tls", "any"],
  );
  assert.equal(chosen("a.test"), "a tls");
  assert.equal(chosen("a.test", 80), "a plain");
  assert.equal(chosen("a.test", 443, "raw_buffer"), "any tls");
  assert.equal(chosen("a.test", 81), "any");
  assert.equal(chosen("b.test", 81), "b");
  assert.equal(chosen(undefined, 443), "any tls");
  assert.equal(chosen(undefined, 81), "any");
});
