import assert from "node:assert/strict";
import { test } from "node:test";

import { openProcessMemory } from "./process-memory.ts";

function reading(files: Readonly<Record<string, string>>): {
  read(path: string): string | undefined;
} {
  return { read: (path) => files[path] };
}

const status = { "/proc/self/status": "VmRSS:\t   90000 kB\nRssAnon:\t   32000 kB\n" };

test("openProcessMemory() without a limit knows what is ours alone", () => {
  const memory = openProcessMemory(reading({ ...status, "/proc/self/cgroup": "0::/\n" }));
  assert.equal(memory.anonymousBytes(), 32_000 * 1024);
  assert.equal(memory.limited, undefined);
});

test("openProcessMemory() reads a limit of version 2, less what the kernel can drop", () => {
  const memory = openProcessMemory(
    reading({
      ...status,
      "/proc/self/cgroup": "0::/kubepods/pod1/proxy\n",
      "/sys/fs/cgroup/kubepods/pod1/proxy/memory.max": "max\n",
      "/sys/fs/cgroup/kubepods/pod1/memory.max": "134217728\n",
      "/sys/fs/cgroup/kubepods/pod1/cgroup.procs": "17\n",
      "/sys/fs/cgroup/kubepods/pod1/memory.current": "100000000\n",
      "/sys/fs/cgroup/kubepods/pod1/memory.stat":
        "anon 1\ninactive_file 10000000\nactive_file 5000000\n",
    }),
  );
  assert.equal(memory.limited?.limitBytes, 134_217_728);
  assert.equal(memory.limited.usedBytes(), 85_000_000);
});

test("openProcessMemory() reads version 1, and counts what is ours where others share the limit", () => {
  const files = {
    ...status,
    "/proc/self/cgroup": "9:name=systemd:/\n4:memory:/a\n0::/\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "134217728\n",
    "/sys/fs/cgroup/memory/a/memory.usage_in_bytes": "120000000\n",
    "/sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 20000000\n",
  };
  const alone = openProcessMemory(
    reading({ ...files, "/sys/fs/cgroup/memory/a/cgroup.procs": "17\n" }),
  );
  assert.equal(alone.limited?.usedBytes(), 100_000_000);
  const shared = openProcessMemory(
    reading({ ...files, "/sys/fs/cgroup/memory/a/cgroup.procs": "17\n18\n" }),
  );
  assert.equal(shared.limited?.usedBytes(), 32_000 * 1024);
});
