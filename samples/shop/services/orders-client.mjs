// One connection to the book of orders, in PostgreSQL's protocol: queries wait for each other.
import { connect } from "node:net";

import { tellCounts } from "./counts.mjs";
import { HttpError } from "./web.mjs";

const [host, port] = (process.env.ORDERS_ADDR ?? "orders:5432").split(":");
const answerTimeoutMs = 3000;
const waitingMax = 200;
/** A connection that is older goes in its next quiet moment, as pools of databases have it. */
const lifetimeMs = 3000;
const settings = Buffer.from("user\0shop\0database\0shop\0\0");
const goodbye = Buffer.concat([Buffer.from("X"), int32(4)]);
const startup = Buffer.concat([int32(settings.length + 8), int32(196_608), settings]);

let socket;
const waiting = [];
const bytes = { sent: 0, received: 0 };
tellCounts(bytes);

function int32(value) {
  const field = Buffer.alloc(4);
  field.writeInt32BE(value);
  return field;
}

function book() {
  if (socket !== undefined) return socket;
  const own = connect({ host, port: Number(port) });
  socket = own;
  let received = Buffer.alloc(0);
  let isReady = false;
  let rows = [];
  let failure;
  bytes.sent += startup.length;
  own.write(startup);
  own.on("data", (chunk) => {
    bytes.received += chunk.length;
    received = Buffer.concat([received, chunk]);
    while (received.length >= 5) {
      const end = 1 + received.readInt32BE(1);
      if (received.length < end) return;
      const type = String.fromCharCode(received[0]);
      const body = received.subarray(5, end);
      received = received.subarray(end);
      if (type === "D") rows.push(cellsOf(body));
      if (type === "E") failure = new HttpError(502, "the book of orders refused");
      if (type !== "Z") continue;
      if (isReady) {
        const asked = waiting.shift();
        if (failure === undefined) asked?.resolve(rows);
        else asked?.reject(failure);
      }
      isReady = true;
      rows = [];
      failure = undefined;
    }
  });
  const retire = setInterval(() => {
    if (waiting.length > 0 || socket !== own) return;
    socket = undefined;
    bytes.sent += goodbye.length;
    own.end(goodbye);
  }, lifetimeMs);
  own.on("error", () => own.destroy());
  own.on("close", () => {
    clearInterval(retire);
    if (socket !== own) return;
    socket = undefined;
    for (const one of waiting.splice(0)) one.reject(new HttpError(502, "the book hung up"));
  });
  return own;
}

function cellsOf(body) {
  const cells = [];
  let at = 2;
  for (let left = body.readInt16BE(0); left > 0; left -= 1) {
    const length = body.readInt32BE(at);
    cells.push(body.subarray(at + 4, at + 4 + length).toString("utf8"));
    at += 4 + length;
  }
  return cells;
}

/** Resolves with the rows, each a list of texts. */
export function query(sql) {
  return new Promise((resolve, reject) => {
    if (waiting.length >= waitingMax) {
      reject(new HttpError(503, "too many wait for the book of orders"));
      return;
    }
    const own = book();
    const timer = setTimeout(() => own.destroy(), answerTimeoutMs);
    const end = (settle) => (value) => {
      clearTimeout(timer);
      settle(value);
    };
    waiting.push({ resolve: end(resolve), reject: end(reject) });
    const text = Buffer.from(`${sql}\0`);
    const message = Buffer.concat([Buffer.from("Q"), int32(text.length + 4), text]);
    bytes.sent += message.length;
    own.write(message);
  });
}
