/**
 * Runs inside a network namespace of its own: captures what is not marked, dials through the capture
 * and around it, and prints what both sides saw as one line of JSON.
 */
import { execFileSync } from "node:child_process";

import { systemClock } from "../../../src/base/clock.ts";
import type { SocketAddress } from "../../../src/base/socket-address.ts";
import type { Channel } from "../../../src/net/channel.ts";
import { listen } from "../../../src/net/listen.ts";
import { createPortableDialler } from "../../../src/net/portable-dialler.ts";
import { silentLog } from "../../support/silent-log.ts";

const mark = 0x539;

const accepted: SocketAddress[] = [];
const rules = `table inet capture {
  chain output {
    type nat hook output priority -100;
    meta mark ${mark} return
    meta l4proto tcp tcp dport 9000 redirect to :15001
  }
}`;

function close(channel: Channel): void {
  const end = (): void => channel.destroy();
  channel.handler = { onData: () => {}, onEnd: end, onDrain: () => {}, onClose: () => {} };
}

/** `connected`, or why not. */
function dial(address: string, ownMark: number | undefined): Promise<string> {
  const dialler = createPortableDialler({
    clock: systemClock,
    log: silentLog,
    ...(ownMark === undefined ? {} : { mark: ownMark }),
  });
  return new Promise((resolve) => {
    dialler.dial({
      address: { address, port: 9000 },
      tls: undefined,
      timeoutMs: 2_000,
      onConnect: (channel) => {
        resolve("connected");
        channel.end();
      },
      handler: {
        onData: () => {},
        onEnd: () => {},
        onDrain: () => {},
        onClose: (error) => resolve(error?.code ?? "closed"),
      },
    });
  });
}

for (const args of [
  ["link", "set", "lo", "up"],
  ["addr", "add", "198.19.0.5/32", "dev", "lo"],
  ["-6", "addr", "add", "fd48:6564:646c::5/128", "dev", "lo", "nodad"],
]) {
  execFileSync("ip", args);
}
execFileSync("nft", ["-f", "-"], { input: rules });

const listeners = await Promise.all(
  ["127.0.0.1", "::1"].map((address) =>
    listen({
      on: { kind: "address", address, port: 15_001 },
      connectionsMax: 10,
      readsOriginalDestination: true,
      log: silentLog,
      onChannel: (channel) => {
        accepted.push(channel.originalDestination);
        close(channel);
      },
    }),
  ),
);
const captured = [await dial("198.19.0.5", undefined), await dial("fd48:6564:646c::5", undefined)];
const marked = [await dial("198.19.0.5", mark), await dial("fd48:6564:646c::5", mark)];
await Promise.all(listeners.map((listener) => listener.close()));
process.stdout.write(`${JSON.stringify({ captured, marked, accepted })}\n`);
process.exit(0);
