/**
 * What Heddle sends upstream for what a client sends, without sockets: the streams of its upstream
 * connections, cut into what it takes for one request each.
 */
import { HttpHarness } from "../../support/http-harness.ts";
import type { ScriptedChannel } from "../../support/scripted-channel.ts";

export interface ForwardedStream {
  /** Requests of one upstream connection, in order; each is whole but, perhaps, the last. */
  readonly requests: readonly Buffer[];
  /** The last is whole, too. */
  readonly isWhole: boolean;
}

const answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const turnsMax = 50;

export function forward(
  bytes: Buffer,
  stepBytes: number = bytes.length,
): readonly ForwardedStream[] {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  const requests = new Map<ScriptedChannel, Buffer[]>();
  for (let at = 0; at < bytes.length; at += Math.max(1, stepBytes)) {
    client.send(bytes.toString("latin1", at, at + Math.max(1, stepBytes)));
    connectAll(mesh);
  }
  for (let turn = 0; turn < turnsMax; turn++) {
    const before = requests.size + sum(requests);
    connectAll(mesh);
    for (const { channel } of mesh.upstreams) {
      const sent = channel.take();
      if (sent === "") continue;
      requests.set(channel, [...(requests.get(channel) ?? []), Buffer.from(sent, "latin1")]);
      channel.send(answer);
    }
    if (requests.size + sum(requests) === before) break;
  }
  const streams = [...requests].map(([channel, sent]) => ({
    requests: sent,
    isWhole: !channel.isClosed,
  }));
  client.close();
  return streams;
}

function connectAll(mesh: HttpHarness): void {
  for (let index = 0; index < mesh.upstreams.length; index++) mesh.upstream(index);
}

function sum(requests: ReadonlyMap<unknown, readonly unknown[]>): number {
  return [...requests.values()].reduce((total, one) => total + one.length, 0);
}
