/**
 * Lets Node's own event loop wait for an epoll descriptor: a `uv_poll_t` on it wakes the loop, and an
 * immediate in each of its turns runs our code. So timers, DNS, xDS and everything else of Node run as
 * ever, one thread serves both, and libuv itself calls nothing of ours: a callback of FFI in a thread
 * that is being ended would take the process along.
 */
import { assert } from "../../../base/assert.ts";

type Ffi = typeof import("node:ffi");

export interface LoopWatch {
  /** Whether it keeps the process alive. */
  hold(isHeld: boolean): void;
}

const uvPollType = 8;
const uvReadable = 1;
/** Flags of libuv's handles, which no function sets. */
const flag = { isReferenced: 0x08, isInternal: 0x10 } as const;
/** Longer than timers can be; what it is for is its reference. */
const foreverMs = 2 ** 31 - 1;

const signatures = {
  calloc: { arguments: ["u64", "u64"], return: "pointer" },
  uv_handle_size: { arguments: ["i32"], return: "u32" },
  uv_poll_init: { arguments: ["pointer", "pointer", "i32"], return: "i32" },
  uv_poll_start: { arguments: ["pointer", "i32", "pointer"], return: "i32" },
  uv_close: { arguments: ["pointer", "pointer"], return: "void" },
  uv_ref: { arguments: ["pointer"], return: "void" },
  uv_unref: { arguments: ["pointer"], return: "void" },
} as const;

/**
 * Calls `onTurn` in every turn of Node's loop, which turns while `fd` is readable, from now to the end
 * of the thread. Promises and ticks that it queues run as after any callback of Node's. Throws where
 * libuv refuses.
 */
export function watchFromNode(ffi: Ffi, fd: number, onTurn: () => void): LoopWatch {
  const { handle, lib, functions } = openHandle(ffi, fd);
  // A function of C's that takes the same first argument, and does nothing.
  const status = functions.uv_poll_start(handle, uvReadable, lib.getSymbol("uv_is_active"));
  assert(status === 0, `libuv refuses (${status})`);
  const turn = (): void => {
    setImmediate(turn).unref();
    onTurn();
  };
  setImmediate(turn).unref();
  process.once("exit", () => functions.uv_close(handle, 0n));
  return holdOn();
}

/** Throws where this libuv is another than the one that is expected here. */
export function tryWatching(ffi: Ffi, fd: number): void {
  const { handle, functions } = openHandle(ffi, fd);
  functions.uv_close(handle, 0n);
}

function load(ffi: Ffi) {
  return ffi.dlopen(null, signatures);
}

interface OpenedHandle extends Pick<ReturnType<typeof load>, "lib" | "functions"> {
  readonly handle: bigint;
}

function openHandle(ffi: Ffi, fd: number): OpenedHandle {
  const { lib, functions } = load(ffi);
  const bytes = functions.uv_handle_size(uvPollType);
  assert(bytes > 0 && bytes <= 1024, "uv_poll_t has an unlikely size");
  // C's own memory: libuv looks at the handle after V8, and all memory of V8's, has gone.
  const handle = functions.calloc(1n, BigInt(bytes));
  assert(handle !== 0n, "no memory");
  const status = functions.uv_poll_init(ffi.getCurrentEventLoop(), handle, fd);
  assert(status === 0, `libuv refuses (${status})`);
  const words = (): readonly number[] => readWords(ffi, handle, bytes);
  functions.uv_ref(handle);
  const referenced = words();
  functions.uv_unref(handle);
  const flagsAt = changedWord(referenced, words());
  // A thread that is ended from outside, or at the limit of its heap, closes nothing: libuv passes over
  // open handles of its own, and ends the process over any other.
  ffi.setUint32(handle, flagsAt, ffi.getUint32(handle, flagsAt) | flag.isInternal);
  return { lib, functions, handle };
}

/** By a timer of Node's, which ends with its thread whatever becomes of that. */
function holdOn(): LoopWatch {
  const timer = setInterval(() => {}, foreverMs).unref();
  return {
    hold: (isHeld) => {
      if (isHeld) timer.ref();
      else timer.unref();
    },
  };
}

function readWords(ffi: Ffi, at: bigint, bytes: number): readonly number[] {
  return Array.from({ length: bytes / 4 }, (_, index) => ffi.getUint32(at, index * 4));
}

/** Where the flags are: the one word that tells whether the handle is referenced. In bytes. */
function changedWord(before: readonly number[], after: readonly number[]): number {
  const changed = before.flatMap((word, index) => (word === after[index] ? [] : [index]));
  const [index = 0] = changed;
  const difference = (before[index] ?? 0) ^ (after[index] ?? 0);
  assert(changed.length === 1 && difference === flag.isReferenced, "uv_poll_t has another layout");
  return index * 4;
}
