// A workload that sends datagrams back, with its name in front; DNS questions it answers with an address. Then
// runs what follows in this process. Usage:
//   datagram-application.mjs "echo:9000 dns:5353" node exec-server.mjs FOLDER
import { createSocket } from "node:dgram";

const [spec = "", node = process.execPath, next = "", folder = "."] = process.argv.slice(2);

const kinds = {
  echo: (bytes) => Buffer.concat([Buffer.from(`${process.env.HOSTNAME} `), bytes]),
  /** One answer, 192.0.2.53, to whatever is asked. */
  dns(bytes) {
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 53]);
    const head = Buffer.from([bytes[0], bytes[1], 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    let end = 12;
    while (bytes[end] !== 0) end += bytes[end] + 1;
    return Buffer.concat([head, bytes.subarray(12, end + 5), answer]);
  },
};

for (const one of spec.split(" ")) {
  const [kind, port] = one.split(":");
  for (const type of ["udp4", "udp6"]) {
    const socket = createSocket({ type, ipv6Only: type === "udp6" });
    socket.on("error", (error) => console.error(error.message));
    socket.on("message", (bytes, { port: to, address }) => {
      socket.send(kinds[kind](bytes), to, address);
    });
    socket.bind(Number(port));
  }
}

process.argv = [node, next, folder];
await import(next);
