// A workload that does what a test tells it, with exactly the power an application has: runs shell
// scripts received over a Unix socket named after the instance. Usage: exec-server.mjs FOLDER [PORT]
import { execFile } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";

const [folder, port] = process.argv.slice(2);
const path = join(folder, `${process.env.HOSTNAME}.sock`);

const server = createServer({ allowHalfOpen: true }, (socket) => {
  let script = "";
  socket.setEncoding("utf8");
  socket.on("data", (text) => (script += text));
  socket.on("error", () => socket.destroy());
  socket.on("end", () => {
    const options = { timeout: 600_000, maxBuffer: 4 << 20 };
    execFile("sh", ["-c", script], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : (error.code ?? 255);
      socket.end(JSON.stringify({ code, stdout, stderr }));
    });
  });
});
rmSync(path, { force: true }); // of an earlier start
server.listen(path, () => chmodSync(path, 0o777));

if (port !== undefined) {
  // Says who called and on which port, and reads a body whole: enough to see where traffic went.
  const answer = (request, response) => {
    let bytes = 0;
    request.on("data", (chunk) => (bytes += chunk.length));
    request.on("end", () => {
      const { remoteAddress } = request.socket;
      response.end(JSON.stringify({ from: process.env.HOSTNAME, remoteAddress, bytes }));
    });
  };
  for (const one of port.split(",")) {
    const at = process.env.HOST === undefined ? Number(one) : Number(process.env.PORT);
    // Longer than any pause of a test: an application that closes idle connections races with the
    // requests that its sidecar sends on them, and with Envoy one in ten thousand would lose.
    createHttpServer({ keepAliveTimeout: 60_000 }, answer).listen(at, process.env.HOST);
  }
}
