/** The epoll backend in processes of their own: where it cannot work, and where descriptors run out. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const source = (path: string): string =>
  JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../..", path)).href);

const prelude = `
  import { systemClock } from ${source("src/base/clock.ts")};
  import { openIo } from ${source("src/net/io-backend.ts")};
  const lines = [];
  const say = (message, fields) => lines.push(message + " " + JSON.stringify(fields));
  const log = { error: say, warn: say, info() {}, debug() {}, area: () => log };
`;

const node = ["--disable-warning=ExperimentalWarning", "--input-type=module"];

for (const choice of ["epoll", "auto"]) {
  test(`openIo(${choice}) without FFI takes the portable backend and says why in one line`, () => {
    const script = `${prelude}
      const io = openIo("${choice}", systemClock, log);
      console.log(JSON.stringify([io.name, lines]));`;
    const result = spawnSync(process.execPath, ["--no-experimental-ffi", ...node, "-e", script], {
      encoding: "utf8",
    });
    assert.deepEqual(JSON.parse(result.stdout), [
      "portable",
      [
        'the epoll backend does not work here; the portable one serves {"reason":"this Node has no node:ffi"}',
      ],
    ]);
  });
}

test("a listener without descriptors waits, says so, and goes on when there are some", async () => {
  const script = `${prelude}
    const listener = await openIo("epoll", systemClock, log).listen({
      on: { kind: "address", address: "127.0.0.1", port: 0 },
      connectionsMax: 1000,
      readsOriginalDestination: false,
      log,
      onChannel(channel) {
        channel.handler = {
          onData: (chunk) => void channel.write(Buffer.from(chunk)),
          onEnd: () => channel.end(),
          onDrain() {},
          onClose() {},
        };
      },
    });
    process.once("SIGTERM", () => {
      console.log(JSON.stringify({ lines: lines.length, first: lines[0], cpu: process.cpuUsage() }));
      process.exit();
    });
    console.log(listener.address.port);`;
  const child = spawn(
    "sh",
    ["-c", 'ulimit -n 60; exec "$0" "$@"', process.execPath, ...node, "-e", script],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  while (!output.includes("\n")) await once(child.stdout, "data");
  const port = Number(output);
  const startMs = performance.now();
  const sockets = await Promise.all(Array.from({ length: 90 }, () => opened(port)));
  try {
    const [first] = sockets;
    assert.ok(first !== undefined);
    await echoes(first);
    await new Promise((resolve) => setTimeout(resolve, 400));
    for (const socket of sockets.splice(0, 60)) socket.destroy();
    for (const socket of sockets) await echoes(socket);
    child.kill("SIGTERM");
    await once(child, "close");
    const told: unknown = JSON.parse(output.split("\n")[1] ?? "");
    assert.ok(typeof told === "object" && told !== null && "first" in told && "lines" in told);
    assert.equal(told.first, 'accepting connections failed {"reason":"EMFILE","pauseMs":100}');
    // One for each pause at most.
    const linesMax = (performance.now() - startMs) / 100 + 2;
    assert.ok(typeof told.lines === "number", String(told.lines));
    assert.ok(told.lines < linesMax, `${told.lines} lines, at most ${linesMax}`);
  } finally {
    for (const socket of sockets) socket.destroy();
    child.kill("SIGKILL");
  }
});

async function opened(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

async function echoes(socket: Socket): Promise<void> {
  socket.write("x");
  await once(socket, "data");
}
