/** Processor time of this thread, to the microsecond: what else runs on the machine does not count. */
import ffi from "node:ffi";

const { functions } = ffi.dlopen(null, {
  clock_gettime: { arguments: ["i32", "pointer"], return: "i32" },
});
const threadCpuClock = 3;
const time = new BigInt64Array(2);
const address = ffi.getRawPointer(time);

/** Milliseconds. `process.threadCpuUsage()` counts in ticks of 4 ms on many kernels. */
export function threadMs(): number {
  functions.clock_gettime(threadCpuClock, address);
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6;
}
