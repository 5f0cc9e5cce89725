// An application that answers as the request asks: …/status/CODE, …/turns (503 and 200 in turn),
// ?bytes=N of body or ?messages=N of gRPC, ?ms=N of delay; x-answer-NAME: VALUE becomes a header of the answer, /headers
// answers with the request's own, /app/metrics with metrics; and echoes raw TCP.
// Usage: app-server.mjs HTTP_PORT[,HTTP_PORT…] [TCP_PORT[,TCP_PORT…]]
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";

const [httpPorts = "", tcpPorts = ""] = process.argv.slice(2);
const isExplicit = process.env.HOST !== undefined;

let turns = 0;

const answer = (request, response) => {
  request.resume();
  request.on("end", () => {
    const url = new URL(request.url, "http://localhost");
    const asked = /\/status\/(\d{3})$/.exec(url.pathname)?.[1];
    const status = url.pathname.endsWith("/turns") ? (turns++ % 2 === 0 ? 503 : 200) : asked;
    const headers = Object.fromEntries(
      Object.entries(request.headers)
        .filter(([name]) => name.startsWith("x-answer-"))
        .map(([name, value]) => [name.slice("x-answer-".length), value]),
    );
    const bodies = {
      "/headers": () => JSON.stringify(request.headers),
      "/app/metrics": () => `# TYPE shop_orders_total counter\nshop_orders_total{kind="web"} 3`,
    };
    const messages = Number(url.searchParams.get("messages") ?? 0);
    const filler = () =>
      "\0\0\0\0\x03abc".repeat(messages) || "x".repeat(Number(url.searchParams.get("bytes") ?? 2));
    const body = (bodies[url.pathname] ?? filler)();
    const finish = () => {
      response.writeHead(Number(status ?? 200), { ...headers, "content-length": body.length });
      response.end(body);
    };
    setTimeout(finish, Number(url.searchParams.get("ms") ?? 0));
  });
};

for (const [index, port] of httpPorts.split(",").filter(Boolean).entries()) {
  // In explicit mode the mesh says where: the first port is PORT.
  const at = isExplicit && index === 0 ? Number(process.env.PORT) : Number(port);
  createHttpServer({ keepAliveTimeout: 60_000 }, answer).listen(at, process.env.HOST);
}
for (const port of tcpPorts.split(",").filter(Boolean)) {
  const at = isExplicit ? Number(process.env[`PORT_${port}`] ?? port) : Number(port);
  createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  }).listen(at, process.env.HOST);
}
