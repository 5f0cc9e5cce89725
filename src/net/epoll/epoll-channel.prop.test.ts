/**
 * What channels hold and send, whatever order they are written, corked, ended and closed in, within turns
 * and between them, and however much the kernel takes: more channels than the outbox has places.
 */
import assert from "node:assert/strict";
import os from "node:os";
import { test } from "node:test";

import fc from "fast-check";

import { ScriptedKernel } from "../../../test/support/scripted-kernel.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { EpollChannel } from "./epoll-channel.ts";
import { Reactor } from "./reactor.ts";

const { EAGAIN, EINTR, EPIPE } = os.constants.errno;
const address = { address: "127.0.0.1", port: 1 };
const channelsMax = 40;
const bytesMax = 70_000;
const [readable, writable] = [1, 4];

/** How much of a write the kernel takes; a negative number is its error. */
type Taken = number;

/** Byte `at` of what a channel is given in all. */
const byteAt = (fd: number, at: number): number => (fd * 31 + at * 7) & 0xff;

/** One end of a connection, with what the kernel has of it. */
class End {
  readonly channel: EpollChannel;
  readonly fd: number;
  readonly watermark: number;
  accepted = 0;
  taken = 0;
  isBroken = false;
  hasEnded = false;
  isShut = false;
  corks = 0;
  /** Was told to wait, and not yet to go on. */
  waits = false;
  closes = 0;

  constructor(reactor: Reactor, fd: number, watermark: number) {
    this.fd = fd;
    this.watermark = watermark;
    const handler = {
      onData: () => {},
      onEnd: () => {},
      onDrain: () => {
        assert.equal(this.channel.queuedBytes, 0);
        this.waits = false;
      },
      onClose: () => void this.closes++,
    };
    this.channel = new EpollChannel(
      {
        reactor,
        fd,
        handler,
        local: address,
        remote: address,
        writeQueueBytesMax: watermark,
        onFault: (thrown) => assert.fail(String(thrown)),
      },
      undefined,
    );
  }

  get isOpen(): boolean {
    return !this.channel.isClosed && !this.hasEnded;
  }

  write(how: "write" | "writeShared", bytes: number, memory: Buffer): void {
    const { channel, accepted } = this;
    const wasOpen = this.isOpen;
    for (let at = 0; at < bytes; at++) memory[at] = byteAt(this.fd, accepted + at);
    if (wasOpen) this.accepted += bytes;
    // Memory that is not shared is the channel's from now on.
    const own = how === "write" ? Buffer.from(memory.subarray(0, bytes)) : memory;
    const hasRoom = how === "write" ? channel.write(own) : channel.writeShared(own, bytes);
    memory.fill(0xee, 0, bytes);
    if (!wasOpen || channel.isClosed) return;
    assert.equal(hasRoom, channel.queuedBytes < this.watermark);
    if (!hasRoom) this.waits = true;
  }

  /** The kernel is offered these. */
  onWrite(bytes: Buffer, length: number, taken: Taken): number {
    assert.ok(!this.isShut, "bytes behind the end");
    for (let at = 0; at < length; at++) {
      if (bytes[at] !== byteAt(this.fd, this.taken + at)) assert.fail("bytes out of order");
    }
    if (this.isBroken) return -EPIPE;
    if (taken < 0) return taken;
    const count = Math.max(1, Math.floor(length * taken));
    this.taken += count;
    return count;
  }

  check(): void {
    const { channel } = this;
    // Of what is kept nothing is missing, and nothing more is kept.
    const kept = channel.isClosed ? 0 : this.accepted - this.taken;
    assert.equal(channel.queuedBytes, kept);
    if (!channel.isClosed && this.isShut) assert.equal(kept, 0);
  }
}

type Act = "write" | "writeShared" | "cork" | "uncork" | "end" | "destroy" | "break" | "isWritable";
interface Step {
  readonly act: Act;
  readonly end: number;
  readonly bytes: number;
}

/** The kernel of all runs: what C may have the address of is not given back. */
class Kernel extends ScriptedKernel {
  readonly ends = new Map<number, End>();
  takes: Iterator<Taken> = [][Symbol.iterator]();
  inTurn: () => void = () => {};
  readonly reactor: Reactor;
  /** Whose event has a turn begin. */
  readonly #driverFd = 1_000;
  readonly #faults: unknown[] = [];

  constructor() {
    super();
    const offer = (fd: number, bytes: Buffer, length: number): number => {
      const end = this.ends.get(fd);
      assert.ok(end !== undefined);
      return end.onWrite(bytes, length, this.takes.next().value ?? 1);
    };
    const syscalls = {
      ...this.syscalls,
      read: () => -EAGAIN,
      write: (fd: number, from: { readonly bytes: Buffer }, bytes: number) =>
        offer(fd, from.bytes, bytes),
      writeVector: (fd: number, chunks: readonly Uint8Array[]) => {
        const whole = Buffer.concat(chunks);
        return offer(fd, whole, whole.length);
      },
      shutdownWrite: (fd: number) => {
        const end = this.ends.get(fd);
        if (end !== undefined) end.isShut = true;
        return 0;
      },
    };
    this.reactor = new Reactor(
      { syscalls, watch: (epoll, onReady) => this.watch(epoll, onReady) },
      silentLog,
    );
    const onEvents = (): void => this.inTurn();
    const onFault = (thrown: unknown): void => void this.#faults.push(thrown);
    this.reactor.add(this.#driverFd, { onEvents, onFault }, readable);
  }

  run(within: () => void): void {
    this.inTurn = within;
    this.turn([{ fd: this.#driverFd, events: readable, generation: 1 }]);
    for (const fault of this.#faults.splice(0)) throw fault;
  }

  /** Epoll says so, in a turn of their own. */
  sayWritable(ends: readonly End[]): void {
    this.turn(ends.map(({ fd }) => ({ fd, events: writable, generation: 1 })));
  }
}

const kernel = new Kernel();
const memory = Buffer.alloc(bytesMax);
let lastFd = 2_000;

function take(ends: readonly End[], { act, end: index, bytes }: Step): void {
  const end = ends[index % ends.length];
  assert.ok(end !== undefined);
  const { channel } = end;
  if (act === "write" || act === "writeShared") end.write(act, bytes, memory);
  else if (act === "cork" && end.isOpen) {
    channel.cork();
    end.corks++;
  } else if (act === "uncork" && end.corks > 0) {
    channel.uncork();
    end.corks--;
  } else if (act === "end") {
    channel.end();
    end.hasEnded = true;
    end.corks = 0;
  } else if (act === "destroy") channel.destroy();
  else if (act === "break") end.isBroken = true;
}

const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 600 }) },
  { weight: 2, arbitrary: fc.constantFrom(4095, 4096, 4097, 16_385) },
  { weight: 1, arbitrary: fc.constantFrom(65_536, bytesMax) },
);
const act = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Act>("writeShared") },
  { weight: 4, arbitrary: fc.constant<Act>("write") },
  { weight: 3, arbitrary: fc.constant<Act>("isWritable") },
  { weight: 1, arbitrary: fc.constantFrom<Act>("cork", "uncork", "end", "destroy", "break") },
);
const step = fc.record({ act, end: fc.nat(channelsMax - 1), bytes: size });
const turn = fc.record({ isTurn: fc.boolean(), steps: fc.array(step, { maxLength: 60 }) });
const watermarks = fc.array(fc.constantFrom(1024, 8192, 65_536), {
  minLength: 1,
  maxLength: channelsMax,
});
const taken = fc.infiniteStream(fc.constantFrom<Taken>(1, 1, 1, 1, 0.6, 0.1, -EAGAIN, -EINTR));

test("EpollChannel sends every byte once and in order, and keeps no more than what was not taken", async () => {
  const turns = fc.array(turn, { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(watermarks, turns, taken, async (marks, course, takes) => {
      kernel.takes = takes[Symbol.iterator]();
      kernel.ends.clear();
      const ends = marks.map((watermark) => {
        const end = new End(kernel.reactor, ++lastFd, watermark);
        kernel.ends.set(lastFd, end);
        return end;
      });
      for (const { isTurn, steps } of course) {
        const all = (): void => {
          for (const one of steps) {
            if (one.act !== "isWritable") take(ends, one);
            for (const end of ends) end.check();
          }
        };
        if (isTurn) kernel.run(all);
        else all();
        const ready = steps.filter((one) => one.act === "isWritable");
        kernel.sayWritable(ready.flatMap((one) => ends[one.end % ends.length] ?? []));
        for (const end of ends) end.check();
        // What was put off leaves between turns.
        await Promise.resolve();
      }
      kernel.takes = [][Symbol.iterator]();
      for (const end of ends) for (; end.corks > 0; end.corks--) end.channel.uncork();
      kernel.sayWritable(ends);
      await Promise.resolve();
      for (const end of ends) {
        end.check();
        const isLost = end.isBroken || end.channel.isClosed;
        if (!isLost) assert.equal(end.taken, end.accepted);
        if (!isLost && end.isOpen) assert.equal(end.waits, false);
        if (!isLost && end.hasEnded) assert.ok(end.isShut);
        end.channel.destroy();
      }
      await Promise.resolve();
      for (const end of ends) {
        assert.equal(end.channel.queuedBytes, 0);
        assert.equal(end.closes, 1);
      }
    }),
    { numRuns: 150 },
  );
});
