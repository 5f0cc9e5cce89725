// The applications of the traffic suite. As a server it answers HTTP as the query asks, or speaks a
// small protocol over TCP; as a client it sends what a test tells it over a Unix socket named after
// the instance, the way a program sends that knows nothing of the mesh but its environment.
// Usage: traffic-app.mjs FOLDER [http|tcp]
import { chmodSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

import { calls } from "./traffic-client.mjs";
import { release, seen, serveHttp, serveTcp } from "./traffic-server.mjs";

const [folder, role] = process.argv.slice(2);
const path = join(folder, `${process.env.HOSTNAME}.sock`);

const commands = {
  ...calls,
  seen: async ({ key }) => seen(key),
  release: async ({ hold }) => release(hold),
};

const server = createServer({ allowHalfOpen: true }, (socket) => {
  let text = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk) => (text += chunk));
  socket.on("error", () => socket.destroy());
  socket.on("end", () => {
    const request = JSON.parse(text);
    commands[request.do](request).then(
      (answer) => socket.end(JSON.stringify(answer)),
      (error) => socket.end(JSON.stringify({ error: error.code ?? error.message })),
    );
  });
});
rmSync(path, { force: true }); // of an earlier start
server.listen(path, () => chmodSync(path, 0o777));

if (role === "http") serveHttp();
if (role === "tcp") serveTcp();
