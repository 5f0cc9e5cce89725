/**
 * Clients that take their time or send without end, many at once: each meets a limit that is counted,
 * the proxy's memory stays bounded, and an honest client is served all the while. On both backends.
 */
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ask, type Heddle, type HeddleOptions, startHeddle } from "./servers.ts";

const attackers = 100;
const second = { seconds: 1n, nanos: 0 };
/** Of both sides, for they share the process; without limits it would be gigabytes. */
const growthBytesMax = 160e6;
/** Of most requests of an honest client; each may take `honestMaxMs`, where the machine does other work. */
const honestMs = 5_000;
const honestMaxMs = 60_000;

let application: http.Server;
let applicationPort = 0;

before(async () => {
  application = http.createServer((request, response) => {
    request.resume();
    if (request.url === "/endless") {
      const piece = Buffer.alloc(64 * 1024, 0x61);
      const more = (): void => {
        while (!response.destroyed && response.write(piece));
      };
      response.on("drain", more);
      more();
    } else request.on("end", () => response.end("ok"));
  });
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(address !== null && typeof address === "object");
  applicationPort = address.port;
});

after(() => {
  application.closeAllConnections();
  application.close();
});

/** A connection that says something at once, and perhaps more for as long as it is let. */
class Attacker {
  readonly closed: Promise<void>;
  received = "";
  readonly #socket: net.Socket;

  constructor(port: number, first: string, { reads = true }: { readonly reads?: boolean } = {}) {
    this.#socket = net.connect(port, "127.0.0.1");
    this.#socket.on("error", () => {});
    this.closed = new Promise((resolve) => this.#socket.once("close", () => resolve()));
    if (reads) this.#socket.on("data", (chunk) => (this.received += chunk.toString("latin1")));
    else this.#socket.pause();
    if (first !== "") this.#socket.write(first, "latin1");
  }

  async drip(piece: string, everyMs: number): Promise<void> {
    while (!this.#socket.destroyed) {
      this.#socket.write(piece, "latin1");
      await sleep(everyMs);
    }
  }

  /** Writes `piece` again and again, as fast as it is taken, for so long. */
  async flood(piece: Buffer, forMs: number): Promise<void> {
    const untilMs = Date.now() + forMs;
    while (!this.#socket.destroyed && Date.now() < untilMs) {
      if (this.#socket.write(piece)) await sleep(0);
      else await Promise.race([this.closed, this.#drained(), sleep(untilMs - Date.now())]);
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => this.#socket.once("drain", resolve));
  }

  end(): void {
    this.#socket.destroy();
  }
}

function seriesOf(heddle: Heddle, name: string): number {
  const lines = heddle.series().split("\n");
  const found = lines.filter((line) => line.startsWith(name));
  return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

interface Attack {
  readonly name: string;
  readonly options?: HeddleOptions;
  /** Resolves when it is over. */
  readonly run: (port: number) => Promise<readonly Attacker[]>;
  /** Series, and how high it is at least. */
  readonly counts?: readonly [series: string, least: number];
  /** What each attacker is told. */
  readonly told?: RegExp;
}

async function all(
  port: number,
  first: string,
  more?: (attacker: Attacker) => Promise<void>,
): Promise<readonly Attacker[]> {
  const started = Array.from({ length: attackers }, () => new Attacker(port, first));
  const running = started.map(async (attacker) => {
    await more?.(attacker);
    await attacker.closed;
  });
  await Promise.all(running);
  return started;
}

const head = "GET / HTTP/1.1\r\nHost: a\r\n";
const manyFields = Array.from({ length: 101 }, (_, index) => `x-${index}: 1\r\n`).join("");

const attacks: readonly Attack[] = [
  {
    name: "heads that come byte by byte",
    options: { manager: { requestHeadersTimeout: second } },
    run: (port) => all(port, head, (attacker) => attacker.drip("x", 100)),
    counts: ["envoy_http_downstream_rq_header_timeout", attackers],
    told: /^HTTP\/1\.1 408 /,
  },
  {
    name: "bodies that come byte by byte",
    options: { manager: { requestTimeout: second } },
    run: (port) =>
      all(port, `${head.replace("GET", "POST")}Content-Length: 1000\r\n\r\n`, (attacker) =>
        attacker.drip("x", 100),
      ),
    counts: ["envoy_http_downstream_rq_timeout", attackers],
    told: /^HTTP\/1\.1 408 /,
  },
  {
    name: "connections that say nothing",
    options: { manager: { commonHttpProtocolOptions: { idleTimeout: second } } },
    run: (port) => all(port, ""),
    counts: ["envoy_http_downstream_cx_idle_timeout", attackers],
    told: /^$/,
  },
  {
    name: "connections that live on",
    options: { manager: { commonHttpProtocolOptions: { maxConnectionDuration: second } } },
    run: (port) => all(port, ""),
    counts: ["envoy_http_downstream_cx_max_duration_reached", attackers],
  },
  {
    name: "heads without end",
    run: (port) =>
      all(port, `${head}x: `, (attacker) => attacker.flood(Buffer.alloc(64 * 1024, 0x61), 20_000)),
    counts: [
      'heddle_http_head_limit_total{http_conn_manager_prefix="test",limit="head_bytes"}',
      attackers,
    ],
  },
  {
    name: "request lines without end",
    run: (port) =>
      all(port, "GET /", (attacker) => attacker.flood(Buffer.alloc(64 * 1024, 0x61), 20_000)),
    counts: [
      'heddle_http_head_limit_total{http_conn_manager_prefix="test",limit="request_line_bytes"}',
      attackers,
    ],
  },
  {
    name: "too many fields",
    run: (port) => all(port, `${head}${manyFields}\r\n`),
    counts: [
      'heddle_http_head_limit_total{http_conn_manager_prefix="test",limit="fields"}',
      attackers,
    ],
    told: /^HTTP\/1\.1 431 /,
  },
  {
    name: "requests without end, answers unread",
    run: async (port) => {
      const started = Array.from({ length: 50 }, () => new Attacker(port, "", { reads: false }));
      const many = Buffer.from(`${head}\r\n`.repeat(1000));
      await Promise.all(started.map((attacker) => attacker.flood(many, 7_000)));
      for (const attacker of started) attacker.end();
      return started;
    },
  },
  {
    name: "answers without end, unread",
    run: async (port) => {
      const text = `${head.replace("/ ", "/endless ")}\r\n`;
      // Few: the kernel itself keeps megabytes for each, which this process has to move.
      const started = Array.from({ length: 5 }, () => new Attacker(port, text, { reads: false }));
      await sleep(7_000);
      for (const attacker of started) attacker.end();
      return started;
    },
  },
];

for (const io of ["portable", "epoll"] as const) {
  for (const { name, options, run, counts, told } of attacks) {
    test(`${name}: counted, bounded, others are served (${io})`, async (t) => {
      const heddle = await startHeddle(applicationPort, io, options);
      try {
        const before = process.memoryUsage.rss();
        let [peak, isOver] = [0, false];
        const tookMs: number[] = [];
        const honest = async (): Promise<void> => {
          while (!isOver) {
            const startMs = performance.now();
            const { statuses } = await ask(heddle.port, `${head}\r\n`, { waitMs: honestMaxMs });
            assert.deepEqual(statuses, [200]);
            tookMs.push(performance.now() - startMs);
            peak = Math.max(peak, process.memoryUsage.rss() - before);
            await sleep(20);
          }
        };
        const serving = honest();
        const attacking = await run(heddle.port);
        isOver = true;
        await serving;
        tookMs.sort((a, b) => a - b);
        const [median, slowest] = [tookMs[Math.floor(tookMs.length / 2)], tookMs.at(-1)];
        t.diagnostic(
          `${tookMs.length} served, slowest ${slowest?.toFixed(0)} ms; ${(peak / 1e6).toFixed(0)} MB more at most`,
        );
        assert.ok((median ?? honestMs) < honestMs, `half of them took ${median} ms or more`);
        assert.ok(peak < growthBytesMax, `${peak} bytes more`);
        if (counts !== undefined)
          assert.ok(seriesOf(heddle, counts[0]) >= counts[1], heddle.series());
        for (const { received } of attacking) if (told !== undefined) assert.match(received, told);
      } finally {
        await heddle.close();
      }
    });
  }

  test(`connections beyond the limit are closed and counted, the others are served (${io})`, async () => {
    const heddle = await startHeddle(applicationPort, io, { connectionsMax: 20 });
    const inside = Array.from({ length: 20 }, () => new Attacker(heddle.port, `${head}\r\n`));
    for (const attacker of inside) {
      while (!attacker.received.endsWith("ok")) await sleep(5);
    }
    const outside = Array.from({ length: 30 }, () => new Attacker(heddle.port, `${head}\r\n`));
    await Promise.all(outside.map(({ closed }) => closed));
    assert.equal(heddle.overflows(), 30);
    for (const { received } of outside) assert.equal(received, "");
    for (const attacker of inside) attacker.end();
    for (let served = false; !served; await sleep(5)) {
      served = (await ask(heddle.port, `${head}\r\n`)).statuses[0] === 200;
    }
    await heddle.close();
  });
}
