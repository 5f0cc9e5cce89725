// The book of orders: a database that speaks as much of PostgreSQL's protocol as the shop needs, and
// that psql can talk to. Start-up, simple queries, ReadyForQuery; no passwords, for the mesh knows who
// calls. How many bytes went each way is counted and logged.
import { createServer } from "node:net";

import { tellCounts } from "./counts.mjs";
import { stopOnSignal } from "./web.mjs";

const ordersMax = 10_000;
const messageBytesMax = 16 * 1024;
const protocolVersion = 196_608;
const sslRequest = 80_877_103;
const orders = [];
let total = 0;
const bytes = { received: 0, sent: 0 };

function message(type, ...parts) {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? text(part) : part)));
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const text = (value) => Buffer.from(`${value}\0`);
const int16 = (value) => Buffer.from([value >> 8, value & 0xff]);
const int32 = (value) => {
  const field = Buffer.alloc(4);
  field.writeInt32BE(value);
  return field;
};

/** Every column is text. */
function rows(columns, values) {
  const fields = columns.map((name) =>
    Buffer.concat([text(name), int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)]),
  );
  const data = values.map((row) => {
    const cells = row.map((cell) => {
      const value = Buffer.from(String(cell));
      return Buffer.concat([int32(value.length), value]);
    });
    return message("D", int16(row.length), ...cells);
  });
  return [message("T", int16(columns.length), ...fields), ...data, done(`SELECT ${values.length}`)];
}

const done = (tag) => message("C", tag);
const ready = message("Z", Buffer.from("I"));
const failure = (code, words) =>
  message("E", "SERROR", "VERROR", `C${code}`, `M${words}`, Buffer.from([0]));

const insert = /^insert into orders values \('([\w-]{1,64})', '(\d{1,7}(?:\.\d{1,2})?)'\);?$/i;

function run(query) {
  const found = insert.exec(query.trim());
  if (found !== null) {
    total += 1;
    orders.push([found[1], found[2]]);
    if (orders.length > ordersMax) orders.shift();
    return [done("INSERT 0 1")];
  }
  switch (query.trim().toLowerCase().replace(/;$/, "")) {
    case "select count(*) from orders":
      return rows(["count"], [[total]]);
    case "select * from orders":
      return rows(["id", "amount"], orders.slice(-20));
    default:
      return [failure("42601", "the book knows INSERT INTO orders and SELECT … FROM orders")];
  }
}

class Session {
  #socket;
  #waiting = Buffer.alloc(0);
  #isOpen = false;

  constructor(socket) {
    this.#socket = socket;
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => this.#read(chunk));
  }

  #send(...messages) {
    const whole = Buffer.concat(messages);
    bytes.sent += whole.length;
    this.#socket.write(whole);
  }

  #read(chunk) {
    bytes.received += chunk.length;
    this.#waiting = Buffer.concat([this.#waiting, chunk]);
    for (;;) {
      const headBytes = this.#isOpen ? 5 : 4;
      if (this.#waiting.length < headBytes) return;
      const length = this.#waiting.readInt32BE(headBytes - 4);
      if (length < 4 || length > messageBytesMax) return this.#socket.destroy();
      const end = headBytes - 4 + length;
      if (this.#waiting.length < end) return;
      const type = this.#isOpen ? String.fromCharCode(this.#waiting[0]) : "";
      const body = this.#waiting.subarray(headBytes, end);
      this.#waiting = this.#waiting.subarray(end);
      this.#take(type, body);
    }
  }

  #take(type, body) {
    if (!this.#isOpen) return this.#start(body.length >= 4 ? body.readInt32BE(0) : 0);
    if (type === "X") return this.#socket.end();
    if (type !== "Q") return this.#send(failure("0A000", "only simple queries"), ready);
    this.#send(...run(body.subarray(0, -1).toString("utf8")), ready);
  }

  #start(version) {
    // psql asks for TLS first; the proxies speak it already.
    if (version === sslRequest) return this.#send(Buffer.from("N"));
    if (version !== protocolVersion) return this.#socket.destroy();
    this.#isOpen = true;
    const says = (name, value) => message("S", name, value);
    this.#send(
      message("R", int32(0)),
      says("server_version", "16.0"),
      says("client_encoding", "UTF8"),
      ready,
    );
  }
}

const server = createServer((socket) => new Session(socket));
server.listen(Number(process.env.PORT ?? 5432), process.env.HOST);
stopOnSignal(server);
tellCounts(bytes);
