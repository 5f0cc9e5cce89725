import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { HeddleError } from "../../base/error.ts";
import { formatProblem } from "../../base/problem.ts";
import { type GatewayTarget, HostPorts } from "./host-ports.ts";

/** A host on which some ports are taken by others. */
class FakeHost {
  readonly taken = new Set<number>();
  readonly events: string[] = [];
  readonly open = new Set<number>();
  readonly clock = new FakeClock();
  readonly ports = new HostPorts({
    opener: {
      open: async ({ hostPort: port, name }) => {
        if (this.taken.has(port) || this.open.has(port)) {
          const what = `port ${port} for gateway ${name} is in use by another program`;
          throw new HeddleError("local.host-port", `${what}; stop it or choose another port`);
        }
        this.open.add(port);
        return {
          port,
          close: () => {
            this.open.delete(port);
            this.events.push(`closed ${port}`);
          },
        };
      },
    },
    clock: this.clock,
    onOpen: ({ key }, { port }) => this.events.push(`${key} on ${port}`),
    onProblems: () => this.events.push(`${this.ports.problems.length} problems`),
  });

  async follow(...targets: readonly (readonly [string, number])[]): Promise<void> {
    this.ports.follow(targets.map(([name, port]) => target(name, port)));
    await settled();
  }
}

function target(name: string, hostPort: number): GatewayTarget {
  const position = { file: "heddle.yaml", line: 3, column: 7 };
  const address = { address: "198.18.0.2", port: 80 };
  return { key: name, name, hostPort, hostAddress: "127.0.0.1", position, target: () => address };
}

async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("HostPorts opens what the file asks for, moves it, and closes at once what it gives up", async () => {
  const host = new FakeHost();
  await host.follow(["one", 8080]);
  await host.follow(["one", 8081], ["two", 9000]);
  await host.follow(["one", 8081], ["two", 9000]);
  await host.follow();
  assert.deepEqual(host.events, [
    "one on 8080",
    "closed 8080",
    "one on 8081",
    "two on 9000",
    "closed 8081",
    "closed 9000",
  ]);
  assert.deepEqual(host.ports.problems, []);
});

test("HostPorts keeps the port a gateway has while another is refused, and tries again", async () => {
  const host = new FakeHost();
  await host.follow(["one", 8080]);
  host.taken.add(8081);
  await host.follow(["one", 8081]);
  assert.deepEqual(host.ports.problems.map(formatProblem), [
    "heddle.yaml:3:7: error heddle-file.host-port: port 8081 for gateway one is in use by another program, so it stays on 127.0.0.1:8080 (gateways.one.hostPort); stop it or choose another port; it is tried again until it opens",
  ]);
  assert.deepEqual([...host.open], [8080]);
  host.taken.clear();
  host.clock.advance(2000);
  await settled();
  assert.deepEqual(host.ports.problems, []);
  assert.deepEqual([...host.open], [8081]);
  assert.deepEqual(host.events, [
    "one on 8080",
    "1 problems",
    "closed 8080",
    "one on 8081",
    "0 problems",
  ]);
});

test("HostPorts forgets a refused port that nobody wants any more", async () => {
  const host = new FakeHost();
  host.taken.add(8081);
  await host.follow(["one", 8081]);
  assert.equal(host.ports.problems.length, 1);
  await host.follow();
  assert.deepEqual(host.ports.problems, []);
});

test("HostPorts lets gateways change places", async () => {
  const host = new FakeHost();
  await host.follow(["one", 8080], ["two", 9000]);
  await host.follow(["one", 9000], ["two", 8080]);
  assert.deepEqual(host.ports.problems, []);
  assert.deepEqual(host.events.slice(2).toSorted(), [
    "closed 8080",
    "closed 9000",
    "one on 9000",
    "two on 8080",
  ]);
});
