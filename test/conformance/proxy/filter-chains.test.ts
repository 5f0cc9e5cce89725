/**
 * Which filter chain takes a connection, beside Envoy: made-up chains of one listener, and connections
 * whose ends a PROXY header tells, each of which must find the same chain everywhere.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../support/message.ts";
import { compileFilterChains } from "../../../src/proxy/engine/filter-chains.ts";
import { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChainMatch } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { ask } from "../http1/servers.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const seed = 20_26;
const listeners = ["a", "b", "c", "d", "e", "f"] as const;
const chainsMost = 16;
const criteriaMost = 3;

const range = (...addresses: readonly string[]) =>
  fc.array(
    fc.record({
      addressPrefix: fc.constantFrom(...addresses),
      // Of a chain for every address and one that names none, Envoy asks either, by chance.
      prefixLen: fc.constantFrom(8, 24, 31, 32),
    }),
    // Envoy takes no two of one chain that come to the same.
    { minLength: 1, maxLength: 1 },
  );
const criteria: fc.Arbitrary<Fields<FilterChainMatch>> = fc.record(
  {
    destinationPort: fc.constantFrom(443, 8443),
    prefixRanges: range("198.18.0.9", "198.18.0.8", "10.0.0.0"),
    transportProtocol: fc.constantFrom("raw_buffer", "tls"),
    applicationProtocols: fc.subarray(["http/1.1", "http/1.0", "h2c"], { minLength: 1 }),
    directSourcePrefixRanges: range("127.0.0.1", "10.0.0.0"),
    sourceType: fc.constantFrom(0, 1, 2),
    sourcePrefixRanges: range("203.0.113.7", "203.0.113.0", "127.0.0.1"),
    sourcePorts: fc.subarray([40_000, 40_001, 40_002], { minLength: 1 }),
  },
  { requiredKeys: [] },
);
const match = criteria.filter((one) => {
  const count = Object.keys(one).length;
  return count > 0 && count <= criteriaMost;
});

/** As many as agree with each other: two for one combination are refused. */
function chainsOf(
  matches: readonly Fields<FilterChainMatch>[],
): readonly Fields<FilterChainMatch>[] {
  const kept: Fields<FilterChainMatch>[] = [];
  for (const one of matches) {
    const filterChains = [...kept, one].map((filterChainMatch) => ({ filterChainMatch }));
    try {
      compileFilterChains(message(Listener, { filterChains }));
    } catch {
      continue;
    }
    kept.push(one);
  }
  return kept;
}

const chains = listeners.map((_, i) =>
  chainsOf(fc.sample(match, { seed: seed + i, numRuns: chainsMost })),
);
const connections = fc.sample(
  fc.record({
    source: fc.constantFrom("203.0.113.7", "203.0.113.8", "203.0.114.1", "127.0.0.1", "198.18.0.9"),
    sourcePort: fc.constantFrom(40_000, 40_001, 40_002, 40_003),
    destination: fc.constantFrom("198.18.0.9", "198.18.0.8", "10.1.2.3", "192.0.2.1"),
    destinationPort: fc.constantFrom(443, 8443, 80),
    version: fc.constantFrom("1.1", "1.0"),
  }),
  { seed, numRuns: 60 },
);

const types = "type.googleapis.com/envoy.extensions";
const typed = (name: string): object => ({ name, typed_config: { "@type": `${types}.${name}` } });

function says(name: string): object {
  return {
    name: "http",
    typed_config: {
      "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "in",
      http_protocol_options: { accept_http_10: true, default_host_for_http_10: "a" },
      http_filters: [typed("filters.http.router.v3.Router")],
      route_config: {
        virtual_hosts: [
          {
            name: "all",
            domains: ["*"],
            routes: [
              {
                match: { prefix: "/" },
                direct_response: { status: 200, body: { inline_string: `<${name}>` } },
              },
            ],
          },
        ],
      },
    },
  };
}

let planes: Planes<(typeof listeners)[number]> | undefined;

before(async () => {
  planes = await startPlanes(listeners, (ports) =>
    JSON.stringify({
      static_resources: {
        listeners: listeners.map((name, at) => ({
          name,
          address: { socket_address: { address: "127.0.0.1", port_value: ports[name] } },
          listener_filters: [
            typed("filters.listener.proxy_protocol.v3.ProxyProtocol"),
            typed("filters.listener.http_inspector.v3.HttpInspector"),
          ],
          filter_chains: chains[at]?.map((one, i) => ({
            filter_chain_match: one,
            filters: [says(`${name} ${i}`)],
          })),
          default_filter_chain: { filters: [says("default")] },
        })),
      },
    }),
  );
});

after(() => planes?.close());

async function found(plane: PlaneName): Promise<readonly string[]> {
  const answers: string[] = [];
  for (const name of listeners) {
    assert.ok(planes !== undefined);
    const port = planes.port(plane, name);
    const some = connections.map(async (one) => {
      const { source, destination, sourcePort, destinationPort, version } = one;
      const header = `PROXY TCP4 ${source} ${destination} ${sourcePort} ${destinationPort}\r\n`;
      const { text } = await ask(port, `${header}GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
      return `${JSON.stringify(one)}: ${/<(.*)>/.exec(text)?.[1] ?? "none"}`;
    });
    answers.push(...(await Promise.all(some)));
  }
  return answers;
}

test("connections find the filter chains that they find in Envoy", async () => {
  const envoy = await found("envoy");
  const taken = new Set(envoy.map((one) => one.replace(/^.*: /, "")));
  assert.ok(taken.size > 20, `only ${taken.size} chains are found`);
  assert.ok(!taken.has("none"));
  for (const plane of planeNames) assert.deepEqual(await found(plane), envoy, plane);
});
