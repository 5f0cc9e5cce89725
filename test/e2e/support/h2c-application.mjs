// A workload that speaks HTTP/2 without TLS and nothing else, as gRPC servers do: echoes messages as they
// come, also of streams that are WebSockets, fails the first calls of /flaky, never answers /never, breaks /broken off behind a message, and tells
// at /given-up how many calls others have broken off and at /deadline and /slow what time it was given. Then runs what follows in this process. Usage:
//   h2c-application.mjs 50051 node exec-server.mjs FOLDER
import { createServer } from "node:http2";

const [port = "0", node = process.execPath, next = "", folder = "."] = process.argv.slice(2);
let failures = 0;
let givenUp = 0;

const server = createServer({ settings: { enableConnectProtocol: true } });
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  if (headers[":method"] === "CONNECT") {
    stream.respond({ ":status": 200 });
    return void stream.pipe(stream);
  }
  const path = headers[":path"];
  if (path === "/never") return void stream.on("aborted", () => givenUp++);
  if (path === "/flaky" && failures++ % 3 < 2) {
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "grpc-status": "14" },
      { endStream: true },
    );
    return;
  }
  stream.respond(
    {
      ":status": 200,
      "content-type": headers["content-type"],
      "x-version":
        path === "/given-up"
          ? String(givenUp)
          : path === "/deadline" || path === "/slow"
            ? String(headers["grpc-timeout"])
            : String(headers["x-forwarded-client-cert"] ?? "none").replace(/.*URI=/, ""),
    },
    { waitForTrailers: true },
  );
  stream.on("wantTrailers", () =>
    stream.sendTrailers({ "grpc-status": path === "/gone" ? "5" : "0" }),
  );
  stream.on("data", (chunk) =>
    stream.write(chunk, () => (path === "/broken" ? stream.close(8) : undefined)),
  );
  stream.on("end", () => stream.end());
});
server.listen(Number(port), "127.0.0.1");
process.argv = [node, next, folder];
await import(next);
