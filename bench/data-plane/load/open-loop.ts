/**
 * Sends requests at fixed times, whether earlier ones were answered or not, and counts each answer's
 * delay from the time its request was due: a proxy that stalls is not spared the requests it held up.
 *
 *   node open-loop.ts PORT RATE SECONDS CONNECTIONS
 *
 * Prints one line of JSON, with null for what no answer was counted for. It never sleeps, so it needs a core.
 */
import { connect, type Socket } from "node:net";

const [port = 0, rate = 0, seconds = 0, connections = 0] = process.argv.slice(2).map(Number);
const request = Buffer.from(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
const total = Math.round(rate * seconds);
/** Not counted: connections open, caches fill. */
const warmUp = Math.round(rate / 2);

const delays: number[] = [];
const free: Client[] = [];
const due: number[] = [];
let answers = 0;
let failures = 0;

interface Client {
  readonly socket: Socket;
  dueMs: number;
  received: string;
}

for (let index = 0; index < connections; index++) open();
const startMs = performance.now() + 200;
let sent = 0;
tick();

function open(): void {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const client: Client = { socket, dueMs: 0, received: "" };
  socket.on("connect", () => free.push(client));
  socket.on("data", (chunk: Buffer) => {
    client.received += chunk.toString("latin1");
    if (!isWhole(client.received)) return;
    if (!client.received.startsWith("HTTP/1.1 200")) failures++;
    client.received = "";
    if (++answers > warmUp) delays.push(performance.now() - client.dueMs);
    const next = due.shift();
    if (next === undefined) free.push(client);
    else send(client, next);
  });
  socket.on("error", () => failures++);
}

function isWhole(text: string): boolean {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return false;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1];
  return text.length >= head + 4 + Number(length ?? 0);
}

function send(client: Client, dueMs: number): void {
  client.dueMs = dueMs;
  client.socket.write(request);
}

function tick(): void {
  const now = performance.now();
  while (sent < total && startMs + (sent * 1000) / rate <= now) {
    const dueMs = startMs + (sent++ * 1000) / rate;
    const client = free.pop();
    if (client === undefined) due.push(dueMs);
    else send(client, dueMs);
  }
  // A second of grace for what is still under way.
  if (answers + failures >= total || now > startMs + seconds * 1000 + 1000) finish();
  else setImmediate(tick);
}

function finish(): void {
  delays.sort((a, b) => a - b);
  const at = (share: number): number => delays[Math.floor(delays.length * share)] ?? Number.NaN;
  const lost = total - answers;
  console.log(
    JSON.stringify({
      requests: answers,
      failures: failures + lost,
      p50: at(0.5),
      p99: at(0.99),
      p999: at(0.999),
      max: delays.at(-1) ?? Number.NaN,
    }),
  );
  process.exit(0);
}
