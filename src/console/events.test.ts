import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { ServerResponse, IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { test } from "node:test";
import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { createEventHub, type EventHub, type EventHubOptions } from "./events.ts";

/** Views that count how often they are made. */
function hubWith(clock: FakeClock): {
  readonly hub: EventHub;
  readonly made: () => number;
  readonly change: () => void;
} {
  let made = 0;
  let listener = (): void => {};
  const empty = async (): Promise<never[]> => [];
  const options = {
    clock,
    log: silentLog,
    intervalMs: 2000,
    views: {
      status: async () => ({ made: ++made }),
      graph: empty,
      services: empty,
      config: () => ({ resources: [], problems: [] }),
    },
    controlPlane: {
      proxies: () => [],
      onChange: (next: () => void) => {
        listener = next;
        return () => {};
      },
    },
  };
  // Only what the hub asks is faked.
  const hub = createEventHub(options as unknown as EventHubOptions);
  return { hub, made: () => made, change: () => listener() };
}

/** A response that keeps what is written and can pretend that nobody reads. */
class Client extends ServerResponse {
  readonly kinds: string[] = [];
  isStuck = false;

  constructor() {
    super(new IncomingMessage(new Socket()));
    this.assignSocket(new PassThrough() as unknown as Socket);
    Object.defineProperty(this, "writableLength", { get: () => this.queued });
  }

  get queued(): number {
    return this.isStuck ? 10_000_000 : 0;
  }

  override write(text: string): boolean {
    const kind = /^event: (\w+)/.exec(text)?.[1];
    if (kind !== undefined) this.kinds.push(kind);
    return true;
  }
}

/** Lets what was promised happen. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

test("createEventHub() sends everything at first, then what has changed", async () => {
  const clock = new FakeClock();
  const { hub, change } = hubWith(clock);
  const client = new Client();
  hub.add(client, 60_000);
  await settle();
  assert.deepEqual(client.kinds, ["proxies", "config", "status", "graph", "services"]);
  clock.advance(2000);
  await settle();
  assert.deepEqual(client.kinds.slice(5), ["status"]);
  change();
  change();
  clock.advance(100);
  await settle();
  assert.deepEqual(client.kinds.slice(6), ["status"]);
  hub.close();
});

test("createEventHub() makes a view once for all clients of a window, and none for nobody", async () => {
  const clock = new FakeClock();
  const { hub, made } = hubWith(clock);
  const clients = [new Client(), new Client(), new Client()];
  for (const client of clients) hub.add(client, 60_000);
  await settle();
  const before = made();
  clock.advance(2000);
  await settle();
  assert.equal(made() - before, 1);
  for (const client of clients) client.emit("close");
  clock.advance(10_000);
  await settle();
  assert.equal(made() - before, 1);
  assert.equal(hub.clients, 0);
  hub.close();
});

test("createEventHub() skips a client that does not read, and takes no more than its limit", async () => {
  const clock = new FakeClock();
  const { hub } = hubWith(clock);
  const stuck = new Client();
  hub.add(stuck, 60_000);
  await settle();
  const sent = stuck.kinds.length;
  stuck.isStuck = true;
  clock.advance(20_000);
  await settle();
  assert.equal(stuck.kinds.length, sent);
  for (let more = 1; more < 64; more++) {
    assert.equal(hub.isFull, false);
    hub.add(new Client(), 60_000);
  }
  assert.equal(hub.isFull, true);
  stuck.emit("close");
  assert.equal(hub.isFull, false);
  await settle();
  hub.close();
});
