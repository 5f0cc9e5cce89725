import assert from "node:assert/strict";
import { test } from "node:test";

import { ScriptedKernel } from "../../../test/support/scripted-kernel.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { Reactor, readable, type Watched } from "./reactor.ts";

class Owner implements Watched {
  readonly told: string[] = [];
  readonly #then: () => void;

  constructor(then: () => void = () => {}) {
    this.#then = then;
  }

  onEvents(isReadable: boolean, isWritable: boolean, isOver: boolean): void {
    this.told.push(
      [isReadable && "in", isWritable && "out", isOver && "over"].filter(Boolean).join(),
    );
    this.#then();
  }

  onFault(thrown: unknown): void {
    this.told.push(`fault ${String(thrown)}`);
  }
}

test("Reactor tells a late event to nobody, though another owner has the number by now", () => {
  const kernel = new ScriptedKernel();
  const reactor = new Reactor(kernel, silentLog);
  const second = new Owner();
  const first = new Owner(() => {
    // The kernel gives the number to a new connection in the same turn.
    reactor.close(7);
    assert.equal(reactor.add(7, second, readable), 0);
  });
  reactor.add(7, first, readable);
  kernel.turn([
    { fd: 7, events: 1, generation: 1 },
    { fd: 7, events: 1, generation: 1 },
    { fd: 8, events: 1, generation: 1 },
  ]);
  assert.deepEqual([first.told, second.told], [["in"], []]);
  kernel.turn([{ fd: 7, events: 0x1d, generation: 2 }]);
  assert.deepEqual(second.told, ["in,out,over"]);
});

test("Reactor gives a fault to its owner and goes on with the others", () => {
  const kernel = new ScriptedKernel();
  const reactor = new Reactor(kernel, silentLog);
  const broken = new Owner(() => {
    throw new Error("ours");
  });
  const other = new Owner();
  reactor.add(3, broken, readable);
  reactor.add(4, other, readable);
  kernel.turn([
    { fd: 3, events: 1, generation: 1 },
    { fd: 4, events: 4, generation: 1 },
  ]);
  assert.deepEqual(broken.told, ["in", "fault Error: ours"]);
  assert.deepEqual(other.told, ["out"]);
});

test("Reactor defers to the end of the turn, or to soon after the call, and once each", async () => {
  const kernel = new ScriptedKernel();
  const reactor = new Reactor(kernel, silentLog);
  const order: string[] = [];
  const owner = new Owner(() => {
    reactor.defer({ runDeferred: () => order.push("deferred") });
    order.push("event");
  });
  reactor.add(3, owner, readable);
  const event = { fd: 3, events: 1, generation: 1 };
  kernel.turn([event, event]);
  assert.deepEqual(order, ["event", "event", "deferred", "deferred"]);
  reactor.defer({
    runDeferred: () => {
      order.push("outside");
      reactor.defer({ runDeferred: () => order.push("later") });
    },
  });
  order.push("call");
  await Promise.resolve();
  await Promise.resolve();
  assert.deepEqual(order.slice(4), ["call", "outside", "later"]);
});

test("Reactor keeps the process alive while anything is watched", () => {
  const kernel = new ScriptedKernel();
  const reactor = new Reactor(kernel, silentLog);
  reactor.add(3, new Owner(), readable);
  reactor.add(4, new Owner(), readable);
  reactor.close(3);
  reactor.close(3);
  assert.equal(kernel.isHeld, true);
  reactor.remove(4);
  assert.equal(kernel.isHeld, false);
  assert.equal(reactor.size, 0);
});

test("Reactor.add() watches nothing where the kernel refuses", () => {
  const kernel = new ScriptedKernel();
  const reactor = new Reactor(kernel, silentLog);
  kernel.answers["epollControl"] = [-28];
  assert.equal(reactor.add(3, new Owner(), readable), -28);
  assert.equal(reactor.size, 0);
});
