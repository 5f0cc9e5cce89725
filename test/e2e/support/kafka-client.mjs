// Asks a broker for its versions and its topic, produces records in many requests at once, and fetches them
// again. Usage: kafka-client.mjs HOST PORT RECORDS
import { createHash } from "node:crypto";
import { connect } from "node:net";

import { frames, keys, Writer } from "./kafka-frames.mjs";

const [host, port, count] = process.argv.slice(2);
const socket = connect({ host, port: Number(port) });
const waiting = new Map();
let asked = 0;
socket.on(
  "data",
  frames((answer) => waiting.get(answer.int32())(answer)),
);
socket.on("error", (error) => {
  console.log(error.code);
  process.exit(1);
});

/** The answer, when it comes; requests do not wait for each other. */
function ask(key, write) {
  const correlation = ++asked;
  const request = new Writer().int16(key).int16(0).int32(correlation).text("client");
  write(request);
  socket.write(request.frame());
  return new Promise((resolve) => waiting.set(correlation, resolve));
}

const versions = await ask(keys.versions, () => {});
versions.int16();
const known = versions.list((one) => [one.int16(), one.int16(), one.int16()][0]);
const metadata = await ask(keys.metadata, (request) =>
  request.list(["orders"], (out, topic) => out.text(topic)),
);
const [found] = metadata.list((one) => `${one.int32()} ${one.text()}:${one.int32()}`);
const records = Array.from({ length: Number(count) }, (_, i) =>
  Buffer.alloc(1 + ((i * 37) % 5000), String.fromCharCode(97 + (i % 26))),
);
const offsets = await Promise.all(
  records.map(async (one) => {
    const answer = await ask(keys.produce, (request) =>
      request
        .int16(1)
        .int32(1000)
        .list(["orders"], (out, topic) =>
          out.text(topic).list([0], (of, partition) => of.int32(partition).bytes(one)),
        ),
    );
    return answer.list((topic) => {
      topic.text();
      return topic.list((of) => [of.int32(), of.int16(), of.int64()][2])[0];
    })[0];
  }),
);
const fetched = await ask(keys.fetch, (request) =>
  request
    .int32(-1)
    .int32(1000)
    .int32(1)
    .list(["orders"], (out, topic) =>
      out.text(topic).list([0], (of, partition) => of.int32(partition).int64(0).int32(100_000_000)),
    ),
);
const [bytes] = fetched.list((topic) => {
  topic.text();
  return topic.list((of) => {
    of.int32();
    of.int16();
    of.int64();
    return of.bytes();
  })[0];
});
const sum = (text) => createHash("sha256").update(text).digest("hex");
const inOrder = Buffer.concat(
  records.toSorted((a, b) => offsets[records.indexOf(a)] - offsets[records.indexOf(b)]),
);
console.log(
  `${known.join()} ${found} ${new Set(offsets).size} ${bytes.length} ${sum(bytes) === sum(inOrder)}`,
);
socket.end();
