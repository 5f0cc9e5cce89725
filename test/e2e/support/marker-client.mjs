// Sends each marker once in every place that traffic has for it: path, query, header, cookie, body and
// answer over HTTP, a WebSocket message, a raw TCP payload. Prints how many came back. Usage:
//   marker-client.mjs HTTP_HOST:PORT TCP_HOST:PORT MARKER…
import { request } from "node:http";
import { connect } from "node:net";

const [http = "", tcp = "", ...markers] = process.argv.slice(2);
const count = { http: 0, webSocket: 0, tcp: 0 };

const viaHttp = (marker) =>
  new Promise((resolve, reject) => {
    const outgoing = request(
      `http://${http}/${marker}-path?q=${marker}-query`,
      {
        method: "POST",
        headers: { "x-marker": `${marker}-header`, cookie: `c=${marker}-cookie` },
        timeout: 10_000,
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk) => (text += chunk));
        response.on("end", () => {
          const isWhole = ["path", "query", "header", "cookie", "body"].every((place) =>
            text.includes(`${marker}-${place}`),
          );
          if (response.statusCode === 200 && isWhole) count.http += 1;
          resolve();
        });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(`${marker}-body`);
  });

const viaWebSocket = (marker) =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${http}/live`);
    socket.addEventListener("open", () => socket.send(`${marker}-message`));
    socket.addEventListener("message", ({ data }) => {
      if (data === `${marker}-message`) count.webSocket += 1;
      socket.close();
      resolve();
    });
    socket.addEventListener("error", () => reject(new Error("the WebSocket failed")));
  });

const viaTcp = (marker) =>
  new Promise((resolve, reject) => {
    const [host, port] = tcp.split(/:(?=\d+$)/);
    const socket = connect({ host, port: Number(port) });
    let text = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      text += chunk;
      if (text !== `${marker}-payload`) return;
      count.tcp += 1;
      socket.end();
      resolve();
    });
    socket.on("close", resolve);
    socket.write(`${marker}-payload`);
  });

await Promise.all(
  markers.map(async (marker) => {
    await viaHttp(marker);
    await viaWebSocket(marker);
    await viaTcp(marker);
  }),
);
process.stdout.write(JSON.stringify(count));
