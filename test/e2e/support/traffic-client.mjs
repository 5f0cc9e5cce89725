// What the traffic suite's clients can be told to send. Where the environment names an HTTP proxy,
// requests go there in absolute form, and raw TCP goes to the local port of its destination.
import { lookup } from "node:dns/promises";
import { Agent, request as httpRequest } from "node:http";
import { connect } from "node:net";

import { filler } from "./traffic-markers.ts";

const proxy = process.env.http_proxy === undefined ? undefined : new URL(process.env.http_proxy);
const agents = new Map();

/** Connections are kept per concurrency: a load of its own must not wait for another's sockets. */
function agentOf(sockets) {
  const known = agents.get(sockets) ?? new Agent({ keepAlive: true, maxSockets: sockets });
  agents.set(sockets, known);
  return known;
}

function target({ host, port = 80, path = "/", direct }) {
  const authority = port === 80 ? host : `${host}:${port}`;
  if (direct !== undefined) return { ...direct, path, authority };
  if (proxy === undefined) return { host, port, path, authority };
  const absolute = `http://${authority}${path}`;
  return { host: proxy.hostname, port: Number(proxy.port), path: absolute, authority };
}

function send(call, agent) {
  const { host, port, path, authority } = target(call);
  const startMs = performance.now();
  return new Promise((resolve, reject) => {
    const headers = { host: authority, ...call.headers };
    const options = { host, port, path, method: call.method ?? "GET", headers, agent };
    const request = httpRequest(options, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks);
        const isShown = body.length <= 65_536;
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body: isShown ? body.toString() : "",
          bytes: body.length,
          trailers: response.trailers,
          ms: performance.now() - startMs,
        });
      });
    });
    request.on("error", reject);
    request.setTimeout(15_000, () => request.destroy(new Error("no answer in 15 s")));
    if (call.bodyBytes !== undefined) request.write(Buffer.alloc(call.bodyBytes, filler));
    if (call.trailers !== undefined) request.addTrailers(call.trailers);
    request.end(call.body);
  });
}

export const calls = {
  /** One request on a connection of its own. */
  http: (call) => send(call, false),

  /** `count` equal requests, `concurrency` at a time; counts answers by status and server. */
  async many({ count, concurrency, call }) {
    const agent = agentOf(concurrency);
    const answers = {};
    let left = count;
    const worker = async () => {
      while (left-- > 0) {
        const { status, headers } = await send(call, agent).catch((error) => ({
          status: error.code ?? error.message,
          headers: {},
        }));
        const name = `${status} ${headers["x-from"] ?? "-"}`;
        answers[name] = (answers[name] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    return answers;
  },

  /** Sends text on one connection, `{target}` and `{authority}` in it filled in. */
  raw({ host, port, path, texts, direct, ...ends }) {
    const to = target({ host, port, path, direct });
    const fill = (one) =>
      one?.replaceAll("{target}", to.path).replaceAll("{authority}", to.authority);
    return converse(connect({ host: to.host, port: to.port }), texts.map(fill), ends);
  },

  /** The same with a service over TCP. */
  tcp({ service, port, texts, ...ends }) {
    return converse(connectTcp(service, port), texts, ends);
  },

  /** Reads until the other side ends, then sends `bytes` and ends too. */
  async sendLate({ service, port, command, bytes }) {
    const socket = connectTcp(service, port);
    socket.write(command);
    socket.resume();
    await once(socket, "end");
    socket.end(Buffer.alloc(bytes, filler));
    await new Promise((resolve) => socket.once("close", resolve));
    return {};
  },

  /** Waits for the greeting, then sends `bytes` after `command` and ends; or only reads. */
  async transfer({ service, port, command, bytes }) {
    const socket = connectTcp(service, port);
    const startMs = performance.now();
    let received = 0;
    let last = "";
    socket.on("data", (chunk) => {
      received += chunk.length;
      last = chunk.subarray(-32).toString("latin1");
    });
    await once(socket, "data");
    const greeting = received;
    socket.write(`${command}\n`);
    const block = Buffer.alloc(65_536, filler);
    for (let left = bytes; left > 0; left -= block.length) {
      const size = Math.min(left, block.length);
      if (!socket.write(block.subarray(0, size))) await once(socket, "drain");
    }
    if (bytes > 0) socket.end();
    await once(socket, "end");
    socket.end();
    return { received: received - greeting, last, ms: performance.now() - startMs };
  },

  async lookup({ name }) {
    const { address } = await lookup(name, { family: 4 });
    return { address };
  },
};

function connectTcp(service, port) {
  const address = process.env[`${service.split(".")[0].toUpperCase()}_ADDR`];
  const [host, local] = address?.split(":") ?? [service, port];
  return connect({ host, port: Number(local), allowHalfOpen: true });
}

function once(socket, event) {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`closed before ${event}`)));
  });
}

/**
 * Sends the first text at once and each other one when something came after the one before; null
 * ends our side. Over when the other side ends, or when `until` has come.
 */
function converse(socket, [first, ...others], { waitFor = "", until, maxMs = 10_000 }) {
  return new Promise((resolve) => {
    let received = "";
    let mark = 0;
    let end = "timeout";
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ received, end });
    };
    const timer = setTimeout(finish, maxMs);
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      if (until !== undefined && received.includes(until)) {
        end = "until";
        finish();
        return;
      }
      if (others.length === 0 || received.indexOf(waitFor, mark) < 0) return;
      mark = received.length;
      const next = others.shift();
      if (next === null) socket.end();
      else socket.write(next, "latin1");
    });
    socket.on("end", () => {
      end = "end";
      finish();
    });
    socket.on("error", (error) => {
      end = error.code;
      finish();
    });
    if (first !== "") socket.write(first, "latin1");
  });
}
