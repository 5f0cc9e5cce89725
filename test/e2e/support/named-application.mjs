/**
 * Servers that say their name and end: `NAME tcp:PORT tls:PORT`. With TLS the certificate is NAME.crt beside
 * NAME.key in the working directory, and whom the client asked for is said, too.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";

const [name = "", ...places] = process.argv.slice(2);

for (const place of places) {
  const [protocol, port] = place.split(":");
  if (protocol === "tls") {
    const files = { key: readFileSync(`${name}.key`), cert: readFileSync(`${name}.crt`) };
    createTlsServer(files, (socket) => {
      socket.on("error", () => {});
      socket.end(`${name} ${socket.servername}`);
    })
      .on("tlsClientError", () => {})
      .listen(Number(port));
  } else {
    createServer((socket) => {
      socket.on("error", () => {});
      socket.end(name);
    }).listen(Number(port));
  }
}
