/**
 * Where no PID namespace ends them: a small process outside ours that kills every process group it
 * was told of when its pipe closes, however the supervisor ended. Works wherever there is `sh`.
 */
import { spawn } from "node:child_process";

export interface Watchdog {
  /** A process group that must not outlive this process. */
  watch(group: number): void;
  /** All of them have ended: their numbers may belong to others soon. */
  forget(): void;
  /** Ends it, killing what is still there. */
  close(): void;
}

// The list is kept short: groups that have ended are dropped whenever one is added. SIGKILL, since
// who is left after the supervisor's own stop did not hear SIGTERM.
// `kill -s`: dash takes a `--` after no other form.
const script = `groups=
while read -r group; do
  if [ "$group" = none ]; then groups=; continue; fi
  kept=
  for one in $groups; do kill -s 0 -- "-$one" 2>/dev/null && kept="$kept $one"; done
  groups="$kept $group"
done
for one in $groups; do kill -s KILL -- "-$one" 2>/dev/null; done
exit 0`;

export function startWatchdog(): Watchdog {
  const child = spawn("sh", ["-c", script], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    cwd: "/",
  });
  child.on("error", () => {
    // No `sh`: an orderly stop still ends everything; only `kill -9` would leave processes.
  });
  child.stdin.on("error", () => {
    // It was killed; the same.
  });
  child.unref();
  return {
    watch(group) {
      child.stdin.write(`${group}\n`);
    },
    forget() {
      child.stdin.write("none\n");
    },
    close() {
      child.stdin.end();
    },
  };
}
