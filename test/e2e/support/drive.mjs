// Sends what its one argument (JSON) says, as an application of the mesh would, and prints what came
// back as JSON: how often each outcome was seen. Each step: { count, concurrency, url, method,
// headers, bytes, messages (of gRPC, in place of bytes) } for HTTP (outcome: the status), { count, tcp: "host:port", bytes } for an echo over
// raw TCP (outcome: "echoed", or why not).
import http from "node:http";
import { connect } from "node:net";

const steps = JSON.parse(process.argv[2] ?? "[]");
const outcomes = {};
const note = (outcome) => {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
};

for (const step of steps) {
  const concurrency = step.concurrency ?? 1;
  const agent = new http.Agent({
    keepAlive: true,
    maxSockets: concurrency,
    proxyEnv: process.env,
  });
  let left = step.count ?? 1;
  const worker = async () => {
    while (left-- > 0) note(await (step.tcp === undefined ? ask(step, agent) : echo(step)));
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  agent.destroy();
}
process.stdout.write(JSON.stringify(outcomes));

function ask({ url, method = "GET", headers = {}, bytes = 0, messages = 0 }, agent) {
  return new Promise((resolve) => {
    const filler = bytes > 0 ? Buffer.alloc(bytes, 120) : undefined;
    const body = messages > 0 ? Buffer.from("\0\0\0\0\x03abc".repeat(messages)) : filler;
    const all = body === undefined ? headers : { ...headers, "content-length": body.length };
    const outgoing = http.request(url, { method, headers: all, agent }, (response) => {
      response.resume();
      response.on("end", () => resolve(String(response.statusCode)));
      response.on("error", (error) => resolve(error.code ?? error.message));
    });
    outgoing.on("error", (error) => resolve(error.code ?? error.message));
    outgoing.end(body);
  });
}

function echo({ tcp, bytes = 1 }) {
  const [host, port] = (process.env[tcp] ?? tcp).split(":");
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) }, () => socket.write(Buffer.alloc(bytes)));
    let received = 0;
    socket.on("data", (chunk) => {
      received += chunk.length;
      if (received >= bytes) socket.end();
    });
    socket.on("error", (error) => resolve(error.code ?? error.message));
    socket.on("close", () => resolve(received === bytes ? "echoed" : `${received} bytes`));
  });
}
