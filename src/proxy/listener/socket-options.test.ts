import assert from "node:assert/strict";
import { test } from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { listen, type SocketOption } from "../../net/listen.ts";
import { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { compileSocketOptions } from "./socket-options.ts";

function compiled(
  fields: Fields<Listener>,
  ...hosts: readonly string[]
): readonly (readonly string[])[] {
  const addresses = hosts.map((address) => ({ address, port: 1 }));
  return compileSocketOptions(message(Listener, fields), addresses).map((options) =>
    options.map(({ level, name, value, when }) => `${level}:${name}=${String(value)} ${when}`),
  );
}

test("compileSocketOptions() speaks of each address in its family's terms", () => {
  const both = { transparent: true, freebind: true };
  assert.deepEqual(compiled(both, "127.0.0.1", "::1"), [
    ["0:15=1 unbound", "0:19=1 unbound", "0:19=1 bound"],
    ["41:78=1 unbound", "41:75=1 unbound", "41:75=1 bound"],
  ]);
  assert.deepEqual(compiled({}, "127.0.0.1"), [[]]);
});

test("compileSocketOptions() lets an address say it differently, and leaves datagrams out", () => {
  const option = (name: bigint, more = {}) => ({ level: 6n, name, intValue: -1n, ...more });
  const fields = {
    socketOptions: [option(1n, { state: 2 }), option(2n, { type: { datagram: {} } })],
    additionalAddresses: [{}, { socketOptions: { socketOptions: [option(3n, { state: 1 })] } }],
  };
  assert.deepEqual(compiled(fields, "127.0.0.1", "127.0.0.2", "127.0.0.3"), [
    ["6:1=-1 listening"],
    ["6:1=-1 listening"],
    ["6:3=-1 bound"],
  ]);
});

test("compileSocketOptions() makes of numbers what a kernel can be asked", () => {
  const socketOptions = [{ level: 2n ** 40n + 1n, name: 2n ** 32n + 15n, intValue: 2n ** 31n }];
  assert.deepEqual(compiled({ socketOptions }, "127.0.0.1"), [["1:15=-2147483648 unbound"]]);
});

test("compileSocketOptions() refuses what says nothing", () => {
  const socketOptions = [{ level: 6n, name: 1n }];
  assert.throws(() => compiled({ socketOptions }, "127.0.0.1"), /socket_options\[0\].*int_value/);
});

test("listen() fails where the kernel refuses an option, at whatever moment", async () => {
  for (const when of ["unbound", "bound", "listening"] as const) {
    const socketOptions: readonly SocketOption[] = [{ level: 6, name: 9999, value: 1, when }];
    const listening = listen({
      on: { kind: "address", address: "127.0.0.1", port: 0 },
      connectionsMax: 1,
      socketOptions,
      readsOriginalDestination: false,
      log: silentLog,
      onChannel: () => {},
    });
    await assert.rejects(listening, /cannot listen on .*refuses socket option 9999 of level 6/);
  }
});
