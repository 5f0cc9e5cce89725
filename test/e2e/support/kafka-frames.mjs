// Frames of Kafka's protocol, of the first version of each request: what a broker and its client need to
// agree on versions, to find each other, and to produce and fetch. No records are looked into.
export const keys = { produce: 0, fetch: 1, metadata: 3, versions: 18 };

export class Writer {
  #parts = [];
  #put(bytes, write) {
    const part = Buffer.alloc(bytes);
    write(part);
    this.#parts.push(part);
    return this;
  }
  int16 = (value) => this.#put(2, (part) => part.writeInt16BE(value));
  int32 = (value) => this.#put(4, (part) => part.writeInt32BE(value));
  int64 = (value) => this.#put(8, (part) => part.writeBigInt64BE(BigInt(value)));
  text(value) {
    this.int16(value.length).#parts.push(Buffer.from(value));
    return this;
  }
  bytes(value) {
    this.int32(value.length).#parts.push(value);
    return this;
  }
  list(items, write) {
    this.int32(items.length);
    for (const item of items) write(this, item);
    return this;
  }
  /** With its length before it. */
  frame() {
    const body = Buffer.concat(this.#parts);
    return Buffer.concat([new Writer().int32(body.length).body(), body]);
  }
  body = () => Buffer.concat(this.#parts);
}

export class Reader {
  #bytes;
  #at = 0;
  constructor(bytes) {
    this.#bytes = bytes;
  }
  #take(count) {
    this.#at += count;
    return this.#at - count;
  }
  int16 = () => this.#bytes.readInt16BE(this.#take(2));
  int32 = () => this.#bytes.readInt32BE(this.#take(4));
  int64 = () => Number(this.#bytes.readBigInt64BE(this.#take(8)));
  text() {
    const length = this.int16();
    return length < 0 ? "" : this.#bytes.toString("utf8", this.#take(length), this.#at);
  }
  bytes() {
    const length = this.int32();
    return this.#bytes.subarray(this.#take(length), this.#at);
  }
  list = (read) => Array.from({ length: this.int32() }, () => read(this));
}

/** Tells `onFrame` of each whole frame, wherever the stream is cut. */
export function frames(onFrame) {
  let waiting = Buffer.alloc(0);
  return (chunk) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 4 && waiting.length >= 4 + waiting.readInt32BE(0)) {
      const end = 4 + waiting.readInt32BE(0);
      onFrame(new Reader(waiting.subarray(4, end)));
      waiting = waiting.subarray(end);
    }
  };
}

/** A broker with one topic of one partition, which it keeps. */
export function broker(host, port) {
  const kept = [];
  const answers = {
    [keys.versions]: (_, answer) =>
      answer.int16(0).list(Object.values(keys), (out, key) => out.int16(key).int16(0).int16(0)),
    [keys.metadata]: (request, answer) =>
      answer
        .list([0], (out, node) => out.int32(node).text(host).int32(port))
        .list(
          request.list((one) => one.text()),
          (out, topic) =>
            out
              .int16(0)
              .text(topic)
              .list([0], (of, partition) =>
                of
                  .int16(0)
                  .int32(partition)
                  .int32(0)
                  .list([0], (ids, id) => ids.int32(id))
                  .list([0], (ids, id) => ids.int32(id)),
              ),
        ),
    [keys.produce]: (request, answer) => {
      request.int16();
      request.int32();
      const topics = request.list((one) => ({
        topic: one.text(),
        sets: one.list((of) => [of.int32(), Buffer.from(of.bytes())]),
      }));
      answer.list(topics, (out, { topic, sets }) =>
        out.text(topic).list(sets, (of, [partition, records]) =>
          of
            .int32(partition)
            .int16(0)
            .int64(kept.push(records) - 1),
        ),
      );
    },
    [keys.fetch]: (request, answer) => {
      for (let i = 0; i < 3; i++) request.int32();
      const topics = request.list((one) => ({
        topic: one.text(),
        wanted: one.list((of) => [of.int32(), of.int64(), of.int32()]),
      }));
      answer.list(topics, (out, { topic, wanted }) =>
        out.text(topic).list(wanted, (of, [partition, offset]) =>
          of
            .int32(partition)
            .int16(0)
            .int64(kept.length)
            .bytes(Buffer.concat(kept.slice(offset))),
        ),
      );
    },
  };
  return (socket) => {
    socket.on(
      "data",
      frames((request) => {
        const [key, version, correlation] = [request.int16(), request.int16(), request.int32()];
        request.text();
        const answer = new Writer().int32(correlation);
        if (version !== 0 || answers[key] === undefined) return socket.destroy();
        answers[key](request, answer);
        socket.write(answer.frame());
      }),
    );
    socket.on("end", () => socket.end());
  };
}
