/**
 * Lets Node's own event loop watch an epoll descriptor: a `uv_poll_t` on it, whose callback is ours.
 * So timers, DNS, xDS and everything else of Node run as ever, and one thread serves both.
 */
import { assert } from "../../../base/assert.ts";

type Ffi = typeof import("node:ffi");

export interface LoopWatch {
  /** Whether it keeps the process alive. */
  hold(isHeld: boolean): void;
}

const uvPollType = 8;
const uvReadable = 1;

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
 * Calls `onReady` while `fd` is readable, from now to the end of the process. Throws where libuv
 * refuses. `onReady` runs in no scope of Node's: promises and ticks that it queues run after the next
 * callback that is in one.
 */
export function watchFromNode(ffi: Ffi, fd: number, onReady: () => void): LoopWatch {
  const { lib, functions } = ffi.dlopen(null, signatures);
  const bytes = functions.uv_handle_size(uvPollType);
  assert(bytes > 0 && bytes <= 1024, "uv_poll_t has an unlikely size");
  // C's own memory: libuv looks at the handle after V8, and all memory of V8's, has gone.
  const handle = functions.calloc(1n, BigInt(bytes));
  assert(handle !== 0n, "no memory");
  const check = (status: number): void => assert(status === 0, `libuv refuses (${status})`);
  check(functions.uv_poll_init(ffi.getCurrentEventLoop(), handle, fd));
  // The library holds the callback. What it throws would end the process without a word.
  const signature = { arguments: ["pointer", "i32", "i32"], return: "void" } as const;
  const callback = lib.registerCallback(signature, () => {
    try {
      onReady();
    } catch (thrown) {
      setImmediate(() => {
        throw thrown;
      });
    }
  });
  check(functions.uv_poll_start(handle, uvReadable, callback));
  functions.uv_unref(handle);
  // Node turns its loop once more while it ends, when no JavaScript may run; and the loop of a thread
  // that ends with an open handle takes the process with it.
  process.once("exit", () => {
    isOpen = false;
    functions.uv_close(handle, 0n);
  });
  libraries.add(lib);
  let isOpen = true;
  return {
    hold: (isHeld) => {
      if (!isOpen) return;
      if (isHeld) functions.uv_ref(handle);
      else functions.uv_unref(handle);
    },
  };
}

/** A collected library would take its callback with it. */
const libraries = new Set<object>();
