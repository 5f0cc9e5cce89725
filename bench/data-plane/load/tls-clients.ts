/**
 * Opens connections with mutual TLS one after another on a few lanes, and closes each as soon as the
 * server has answered one request on it.
 *
 *   node tls-clients.ts PORT full|resumed SECONDS CERTIFICATE KEY
 *
 * `resumed` offers the session of the connection before; how many were taken up is told. Prints one
 * line of JSON.
 */
import { readFileSync } from "node:fs";
import { connect, createSecureContext } from "node:tls";

const [portText = "", mode = "", secondsText = "", certificate = "", key = ""] =
  process.argv.slice(2);
const lanes = 8;
const port = Number(portText);
const endMs = performance.now() + Number(secondsText) * 1000;
const secureContext = createSecureContext({
  cert: readFileSync(certificate),
  key: readFileSync(key),
  ca: readFileSync(certificate),
});
let handshakes = 0;
let resumed = 0;
let failures = 0;
let running = lanes;

for (let lane = 0; lane < lanes; lane++) open(undefined);

function open(session: Buffer | undefined): void {
  let next = session;
  const socket = connect({
    port,
    host: "127.0.0.1",
    secureContext,
    // The certificate names a workload, not a host.
    checkServerIdentity: () => undefined,
    ...(session === undefined ? {} : { session }),
  });
  socket.on("session", (ticket) => {
    if (mode === "resumed") next = ticket;
  });
  socket.on("secureConnect", () => {
    handshakes++;
    if (socket.isSessionReused()) resumed++;
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  });
  socket.on("error", () => failures++);
  socket.on("data", () => socket.end());
  socket.on("close", () => {
    if (performance.now() < endMs) open(next);
    else if (--running === 0) console.log(JSON.stringify({ handshakes, resumed, failures }));
  });
}
