/** Listeners of Unix sockets on both backends: whose file it is. */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test, type TestContext } from "node:test";

import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import { openIo } from "./io-backend.ts";
import type { BoundListener, ListenOptions } from "./listen.ts";
import { pipeFileOf } from "./sysio/pipe-socket.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-pipe-listeners-"));
after(() => rmSync(folder, { recursive: true }));

function onBoth(
  name: string,
  run: (
    t: TestContext,
    listen: (address: string, more?: Partial<ListenOptions>) => Promise<BoundListener>,
    home: string,
  ) => Promise<void>,
): void {
  for (const choice of ["portable", "epoll"] as const) {
    const io = openIo(choice, systemClock, silentLog);
    test(`${name} (${choice})`, async (t) => {
      const home = mkdtempSync(join(folder, choice));
      const listen = async (
        address: string,
        more: Partial<ListenOptions> = {},
      ): Promise<BoundListener> => {
        const listener = await io.listen({
          on: { kind: "address", address, port: 0 },
          connectionsMax: 10,
          readsOriginalDestination: false,
          log: silentLog,
          onChannel: (channel) => channel.write(Buffer.from(address)),
          ...more,
        });
        t.after(() => listener.close());
        return listener;
      };
      await run(t, listen, home);
    });
  }
}

/** What the listener says that takes the connection; why there is none otherwise. */
function heard(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    socket.once("data", (bytes) => {
      socket.destroy();
      resolve(String(bytes));
    });
    socket.once("error", ({ message }) => resolve(message));
  });
}

onBoth(
  "a listener's file is not another listener's of the same process",
  async (_, listen, home) => {
    mkdirSync(join(home, "real"));
    symlinkSync(join(home, "real"), join(home, "alias"));
    const path = join(home, "real/app.sock");
    const first = await listen(path);
    for (const same of [path, join(home, "alias/app.sock")]) {
      await assert.rejects(listen(same), /another listener of this process is there/);
    }
    assert.equal(await heard(path), path);
    await first.close();
    assert.equal(existsSync(path), false);
    const second = await listen(path);
    assert.equal(await heard(path), path);
    await second.close();
  },
);

onBoth(
  "a listener takes the place of a socket that is left, and of nothing else",
  async (_, listen, home) => {
    const path = join(home, "app.sock");
    // Whose process is none of ours to ask.
    const other = net.createServer();
    await new Promise<void>((resolve) => other.listen(path, resolve));
    const listener = await listen(path);
    assert.equal(await heard(path), path);
    await listener.close();
    other.close();
    writeFileSync(path, "");
    await assert.rejects(listen(path), /cannot be bound/);
    assert.ok(existsSync(path));
  },
);

onBoth("a listener that is refused late leaves no file", async (_, listen, home) => {
  const path = join(home, "app.sock");
  const unknown = { level: 1, name: 9999, value: 1, when: "listening" } as const;
  await assert.rejects(listen(path, { socketOptions: [unknown] }), /socket option 9999/);
  assert.equal(existsSync(path), false);
  const listener = await listen(path, { mode: 0o640 });
  assert.equal(statSync(path).mode & 0o777, 0o640);
  await listener.close();
});

test("pipeFileOf() changes the permissions of nothing that has taken the socket's place", () => {
  const target = join(folder, "secret");
  writeFileSync(target, "", { mode: 0o600 });
  const path = join(folder, "swapped.sock");
  symlinkSync(target, path);
  assert.throws(() => pipeFileOf(path, 0o777), /taken the socket's place|ELOOP/);
  assert.equal(statSync(target).mode & 0o777, 0o600);
});
