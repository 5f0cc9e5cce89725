/** Runs the table of expectations and compares what the client, servers and both sidecars say. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { eventually } from "../support/mesh.ts";
import type { HttpAnswer, LogEntry, SeenRequest, Traffic } from "../support/traffic.ts";
import { type Expectation, expectations, type Logged } from "./expectations.ts";

/** Event loops start timers from the time their turn began, so a timeout may end this much early. */
const earlyMs = 10;

interface Outcome {
  readonly key: string;
  readonly answer: HttpAnswer;
}

export function agreementTests(traffic: () => Traffic): void {
  describe("agreement", () => {
    const outcomes = new Map<Expectation, Outcome>();
    before(async () => {
      await warmUp(traffic());
      for (const one of expectations) {
        const key = traffic().key();
        outcomes.set(one, { key, answer: await traffic().http(one.call, key) });
      }
    });

    for (const expected of expectations) {
      test(expected.name, async () => {
        const outcome = outcomes.get(expected);
        assert(outcome !== undefined);
        const { key, answer } = outcome;
        const seen = await traffic().seen(key);
        assert.deepEqual(
          {
            ...found(answer, seen, expected),
            outbound: fields(await traffic().logged("client-0", key), expected.outbound),
            inbound: await inboundFields(traffic(), expected, key),
          },
          wanted(expected),
        );
        const atLeastMs = (expected.atLeastMs ?? 0) - earlyMs;
        assert(answer.ms >= atLeastMs, `it took only ${answer.ms} ms`);
        for (const [what, is, should] of expected.check?.(answer, seen) ?? []) {
          assert.deepEqual(is, should, what);
        }
      });
    }
  });
}

/**
 * A thread compiles its code with its first requests and handshakes: 15 ms of a processor, which on a busy
 * machine, at four threads in a row, come to more than the shortest timeout of the table. So many at
 * once that each thread of each proxy gets one.
 */
async function warmUp(traffic: Traffic): Promise<void> {
  const calls = ["web", "vault.secure"].flatMap((host) =>
    Array.from({ length: 8 }, () => ({ host, path: host === "web" ? "/" : "/vault" })),
  );
  await Promise.all(calls.map(async (call) => await traffic.http(call, traffic.key())));
}

function found(answer: HttpAnswer, seen: readonly SeenRequest[], expected: Expectation): object {
  return {
    status: answer.status,
    from: answer.headers["x-from"],
    attempts: seen.length,
    ...(expected.body === undefined ? {} : { body: answer.body }),
  };
}

function wanted(expected: Expectation): object {
  const { status, from, attempts, body, outbound, inbound } = expected;
  return {
    status,
    from,
    attempts,
    ...(body === undefined ? {} : { body }),
    outbound: { status, ...outbound },
    inbound: inbound === undefined ? undefined : { status, ...inbound },
  };
}

/** Of a log entry, what `like` speaks of. */
function fields(entry: LogEntry, like: Logged): object {
  return {
    status: entry["response_code"],
    flags: entry["response_flags"],
    details: entry["response_code_details"],
    ...(like.route === undefined ? {} : { route: entry["route_name"] }),
    ...(like.cluster === undefined ? {} : { cluster: entry["upstream_cluster"] }),
  };
}

async function inboundFields(
  traffic: Traffic,
  expected: Expectation,
  key: string,
): Promise<object | undefined> {
  if (expected.inbound === undefined) return undefined;
  const server = expected.from ?? (expected.call.host === "web" ? "web-v1-0" : "vault-0");
  const attempts = Math.max(expected.attempts, 1);
  const entries = await eventually(`${server} logs every attempt of ${key}`, () => {
    const found = traffic.loggedNow(server, key);
    return found.length >= attempts ? found : undefined;
  });
  // The last attempt is meant. A stream may end, and be logged, after the one that came next.
  const status = expected.inbound.status ?? expected.status;
  const last = entries.find((entry) => entry["response_code"] === status) ?? entries.at(-1);
  assert(last !== undefined);
  return fields(last, expected.inbound);
}
