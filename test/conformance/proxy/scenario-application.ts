/**
 * The application behind the proxies: a raw TCP server that keeps the heads of the requests it sees
 * and answers as the path says, also in ways that no HTTP library would.
 */
import net from "node:net";

export interface ScenarioApplication {
  readonly port: number;
  /** Heads since the last call. */
  takeHeads(): readonly string[];
  close(): void;
}

type Behaviour = (socket: net.Socket, count: number) => void;

const say = (text: string): Behaviour => {
  return (socket) => void socket.write(text);
};
const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const later = (ms: number, text: string): Behaviour => {
  return (socket) => void setTimeout(() => socket.writable && socket.write(text), ms);
};

/** By the path's last segment; `count` is how often the path was asked for, this time included. */
const behaviours: Readonly<Record<string, Behaviour>> = {
  "no-content": say("HTTP/1.1 204 No Content\r\nx-app: 1\r\n\r\n"),
  "not-modified": say('HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n'),
  head: say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
  chunked: say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
  decorates: say(
    "HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: named\r\ncontent-length: 0\r\n\r\n",
  ),
  long: say(`HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n${"0123456789".repeat(300)}`),
  trailed: say(
    `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n${"0123456789".repeat(10)}\r\n0\r\nx-end: 1\r\n\r\n`,
  ),
  until: (socket) => void socket.end("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
  error: say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nbad"),
  unavailable: say("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"),
  overloaded: say(
    "HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\ncontent-length: 4\r\n\r\nbusy",
  ),
  flaky: (socket, count) =>
    void socket.write(
      count % 2 === 1 ? "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy" : ok,
    ),
  conflict: say("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"),
  moved: say("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"),
  odd: say("HTTP/1.1 299 Quite Fine\r\ncontent-length: 0\r\n\r\n"),
  headers: say(
    "HTTP/1.1 200 OK\r\nserver: app\r\nx-powered-by: app\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nkeep-alive: 1\r\nconnection: keep-alive\r\nx-envoy-upstream-service-time: 99\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n",
  ),
  close: (socket) =>
    void socket.end("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"),
  gone: (socket) => void socket.end(),
  reset: (socket) => void socket.resetAndDestroy(),
  broken: (socket) => void socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
  "broken-chunks": (socket) =>
    void socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc"),
  garbage: say("SMTP ready\r\n\r\n"),
  "two-lengths": say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
  slow: later(600, ok),
  silent: () => {},
  stalls: say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
  hints: say(
    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
  ),
  continues: say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
  switches: say(
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
  ),
  "tunnel.test:443": say("HTTP/1.1 200 Connected\r\n\r\n"),
  refuses: say("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"),
  unasked: say("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"),
  grpc: say(
    "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n",
  ),
};

export async function startApplication(): Promise<ScenarioApplication> {
  let heads: string[] = [];
  const counts = new Map<string, number>();
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    let received = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      for (;;) {
        const end = received.indexOf("\r\n\r\n");
        if (end < 0) return;
        const head = received.slice(0, end);
        const whole = end + 4 + bodyLength(head, received.slice(end + 4));
        if (received.length < whole) return;
        received = received.slice(whole);
        heads.push(head);
        const path = head.split(" ", 2)[1] ?? "";
        const count = (counts.get(path) ?? 0) + 1;
        counts.set(path, count);
        const name = path.split("?", 1)[0]?.split("/").at(-1) ?? "";
        (behaviours[name] ?? say(ok))(socket, count);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    port: address.port,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
    takeHeads() {
      const taken = heads;
      heads = [];
      return taken;
    },
  };
}

/** Enough framing for the proxies' own requests: a declared length, or chunks up to the last. */
function bodyLength(head: string, rest: string): number {
  const declared = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (declared !== undefined) return Number(declared);
  if (!/^transfer-encoding: *chunked/im.test(head)) return 0;
  const end = /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(rest);
  return end === null ? Number.POSITIVE_INFINITY : end.index + end[0].length;
}
