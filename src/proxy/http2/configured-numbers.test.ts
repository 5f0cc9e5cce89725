/** Each number that `http2_protocol_options` can name is the one that counts. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";

type Options = Partial<NonNullable<HttpConnectionManager["http2ProtocolOptions"]>>;

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const types = { data: 0, headers: 1, priority: 2, settings: 4, ping: 6, windowUpdate: 8 } as const;
const endHeaders = 4;
const ack = 1;
const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/** POST / of `a`, whose content follows; and GET. */
const post = "\x83\x86\x84\x01\x01a";
const get = "\x82\x86\x84\x01\x01a";

function frame(type: number, flags: number, id: number, payload = ""): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return head.toString("latin1") + payload;
}

function number(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes.toString("latin1");
}

function connect(http2ProtocolOptions: Options): {
  readonly mesh: HttpHarness;
  readonly client: ScriptedChannel;
} {
  const mesh = new HttpHarness({ manager: { http2ProtocolOptions } });
  const client = mesh.connect();
  client.send(preface + frame(types.settings, 0, 0) + frame(types.settings, ack, 0));
  return { mesh, client };
}

/** Of a frame that is sent again and again, so many pass before it ends the connection. */
function passed(client: ScriptedChannel, one: string): number {
  for (let count = 0; count < 1000; count++) {
    client.send(one);
    if (client.hasEnded || client.isClosed) return count;
  }
  return 1000;
}

test("initial_stream_window_size is said, and kept to", () => {
  const { client } = connect({ initialStreamWindowSize: 70_000 });
  assert.ok(client.take().includes(`\0\x04${number(70_000)}`));
  client.send(frame(types.headers, endHeaders, 1, post));
  for (const bytes of [16_000, 16_000, 16_000, 16_000, 6000]) {
    client.send(frame(types.data, 0, 1, "x".repeat(bytes)));
  }
  const isReset = (): boolean => client.take().includes(`${frame(3, 0, 1, number(3))}`);
  assert.equal(isReset(), false);
  client.send(frame(types.data, 0, 1, "x"));
  assert.equal(isReset(), true);
});

test("initial_connection_window_size is said, and kept to", () => {
  const { client } = connect({
    initialConnectionWindowSize: 100_000,
    initialStreamWindowSize: 80_000,
  });
  assert.ok(client.take().includes(frame(types.windowUpdate, 0, 0, number(100_000 - 65_535))));
  for (const id of [1, 3]) client.send(frame(types.headers, endHeaders, id, post));
  for (const id of [1, 3]) {
    for (const bytes of [16_000, 16_000, 16_000, 2000]) {
      client.send(frame(types.data, 0, id, "x".repeat(bytes)));
    }
  }
  assert.equal(client.hasEnded || client.isClosed, false);
  client.send(frame(types.data, 0, 3, "x"));
  assert.equal(client.hasEnded || client.isClosed, true);
});

test("hpack_table_size is said, and kept to", () => {
  const entries: readonly (readonly [size: number, isKept: boolean])[] = [
    [0, false],
    [2048, true],
  ];
  for (const [hpackTableSize, isKept] of entries) {
    const { client } = connect({ hpackTableSize });
    assert.ok(client.take().includes(`\0\x01${number(hpackTableSize)}`));
    // To the new size, then a field for the table, which the next block names by its place.
    const update = hpackTableSize === 0 ? "\x20" : "\x3f\xe1\x0f";
    client.send(frame(types.headers, endHeaders | 1, 1, `${update}${get}\x40\x01b\x01c`));
    client.send(frame(types.headers, endHeaders | 1, 3, `${get}\xbe`));
    assert.equal(client.hasEnded || client.isClosed, !isKept);
  }
});

test("max_outbound_control_frames bounds what is answered to who does not read", () => {
  const counts = [3, 7].map((maxOutboundControlFrames) => {
    const { client } = connect({ maxOutboundControlFrames });
    client.accepts = false;
    return passed(client, frame(types.ping, 0, 0, "12345678"));
  });
  assert.equal((counts[1] ?? 0) - (counts[0] ?? 0), 4);
});

test("max_outbound_frames bounds what is sent to who does not read", () => {
  const counts = [30, 37].map((maxOutboundFrames) => {
    const { client } = connect({ maxOutboundFrames });
    client.accepts = false;
    return passed(client, frame(types.ping, 0, 0, "12345678"));
  });
  assert.equal((counts[1] ?? 0) - (counts[0] ?? 0), 7);
});

test("max_consecutive_inbound_frames_with_empty_payload bounds frames without content", () => {
  const counts = [1, 5].map((maxConsecutiveInboundFramesWithEmptyPayload) => {
    const { client } = connect({ maxConsecutiveInboundFramesWithEmptyPayload });
    client.send(frame(types.headers, endHeaders, 1, post));
    return passed(client, frame(types.data, 0, 1));
  });
  assert.deepEqual(counts, [1, 5]);
});

test("max_inbound_priority_frames_per_stream bounds PRIORITY", () => {
  const counts = [2, 9].map((maxInboundPriorityFramesPerStream) => {
    const { client } = connect({ maxInboundPriorityFramesPerStream });
    return passed(client, frame(types.priority, 0, 3, `${number(0)}\x10`));
  });
  assert.deepEqual(counts, [2, 9]);
});

test("max_inbound_window_update_frames_per_data_frame_sent bounds WINDOW_UPDATE", () => {
  const counts = [1, 4].map((maxInboundWindowUpdateFramesPerDataFrameSent) => {
    const { mesh, client } = connect({ maxInboundWindowUpdateFramesPerDataFrameSent });
    client.send(frame(types.headers, endHeaders | 1, 1, get));
    mesh.upstream().send(answer);
    return passed(client, frame(types.windowUpdate, 0, 0, number(1)));
  });
  // Two for each DATA frame of the answer, which is one, and each frame that is allowed for it.
  assert.equal((counts[1] ?? 0) - (counts[0] ?? 0), 2 * 3);
});
