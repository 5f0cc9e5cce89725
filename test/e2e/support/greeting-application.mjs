// A workload whose servers speak first, each after its own time, as MySQL (a greeting packet), SMTP (a line)
// and a broker that thinks do; and one that counts. Then runs what follows in this process. Usage:
//   greeting-application.mjs "mysql:3306:0 smtp:2525:1000 late:9092:12000 tally:7000:0" node exec-server.mjs FOLDER
import { createServer } from "node:net";

import { broker } from "./kafka-frames.mjs";

const [spec = "", node = process.execPath, next = "", folder = "."] = process.argv.slice(2);

/** A packet of MySQL's protocol: three bytes of length, a number, and what it says. */
const packet = (number, payload) => {
  const head = Buffer.from([payload.length & 255, payload.length >> 8, 0, number]);
  return Buffer.concat([head, payload]);
};

const kinds = {
  /** Greets, takes one packet (a login), says that it is well. */
  mysql(socket) {
    socket.write(packet(0, Buffer.from("\x0a8.0.36\0scripted", "latin1")));
    socket.once("data", () => socket.end(packet(2, Buffer.from([0, 0, 0, 2, 0, 0, 0]))));
  },
  smtp(socket) {
    socket.write("220 mail.example ESMTP\r\n");
    socket.on("data", (line) => {
      if (/^QUIT/i.test(String(line))) socket.end("221 bye\r\n");
      else socket.write("250 well\r\n");
    });
  },
  kafka: broker("broker", 9092),
  late(socket) {
    socket.end("at last\n");
  },
  /** Sends twice what it gets, and at its end what it has counted: bytes that came, bytes that went before. */
  tally(socket) {
    let [came, went] = [0, 0];
    socket.on("data", (chunk) => {
      came += chunk.length;
      went += 2 * chunk.length;
      socket.write(Buffer.concat([chunk, chunk]));
    });
    socket.on("end", () => socket.end(`\n${came} ${went}`));
  },
};

for (const one of spec.split(" ")) {
  const [kind, port, afterMs] = one.split(":");
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    const timer = setTimeout(() => kinds[kind](socket), Number(afterMs));
    socket.on("close", () => clearTimeout(timer));
  });
  server.listen(Number(port), "127.0.0.1");
}

process.argv = [node, next, folder];
await import(next);
