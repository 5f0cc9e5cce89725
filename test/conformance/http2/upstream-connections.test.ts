/** How long connections of HTTP/2 to endpoints are used, under Heddle on either backend and under Envoy. */
import assert from "node:assert/strict";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { bootstrapOf, type Plane, startPlanes } from "../balancing/planes.ts";

const optionsType = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const optionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/** Which connection each request came on, counted from the first of its plane. */
let sessions: http2.ServerHttp2Session[] = [];
const open = new Set<http2.ServerHttp2Session>();

const server = http2.createServer();
server.on("session", (session) => {
  sessions.push(session);
  open.add(session);
  session.on("close", () => open.delete(session));
  session.on("error", () => {});
});
server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
  const at = sessions.findIndex((session) => session === stream.session);
  const answer = (): void => {
    if (stream.destroyed) return;
    stream.respond({ ":status": 200 });
    stream.end(String(at));
  };
  stream.on("error", () => {});
  if (headers[":path"]?.endsWith("slow") === true) setTimeout(answer, 1500);
  else answer();
});

function cluster(name: string, common: string, http2Options = ""): string {
  const { port } = server.address() as AddressInfo;
  const endpoint = `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
  const options = `{"${optionsKey}": {"@type": ${optionsType}, common_http_protocol_options: {${common}}, explicit_http_config: {http2_protocol_options: {${http2Options}}}}}`;
  return `{name: ${name}, connect_timeout: 5s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}, typed_extension_protocol_options: ${options}}`;
}

let planes: readonly Plane[] = [];

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: [
        cluster("number", "max_requests_per_connection: 2"),
        cluster("age", "max_connection_duration: 1s"),
        cluster("idle", "idle_timeout: 0.3s"),
        cluster("streams", "", "max_concurrent_streams: 2"),
      ],
      routes: ["number", "age", "idle", "streams"].map(
        (name) => `{match: {prefix: /${name}}, route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  for (const session of open) session.destroy();
  server.close();
});

/** Runs it through each data plane; all come to the same. */
function compare(title: string, run: (plane: Plane) => Promise<readonly string[]>): void {
  test(title, async () => {
    const outcomes: (readonly string[])[] = [];
    for (const plane of planes) {
      sessions = [];
      outcomes.push(await run(plane));
    }
    const expected = outcomes.at(-1);
    for (const [i, outcome] of outcomes.entries()) {
      assert.deepEqual(outcome, expected, planes[i]?.name ?? "");
    }
  });
}

compare("max_requests_per_connection: another takes the next", async (plane) => {
  const answers: string[] = [];
  for (let turn = 0; turn < 5; turn++) answers.push((await plane.ask("/number")).body);
  assert.deepEqual(answers, ["0", "0", "1", "1", "2"], plane.name);
  return answers;
});

compare("max_connection_duration: another takes the next, streams go on", async (plane) => {
  const first = await plane.ask("/age");
  const slow = plane.ask("/age/slow");
  const [before] = sessions;
  // Nobody else has connections here: it is old when it is told to be, or has told so.
  while (sessions.length === 1) {
    await plane.ask("/age");
    await sleep(100);
  }
  const late = await slow;
  // Its last stream is over.
  const isGone = await untilGone(before);
  return [first.body, `${late.status} ${late.body}`, `gone: ${isGone}`];
});

async function untilGone(session: http2.ServerHttp2Session | undefined): Promise<boolean> {
  for (let turn = 0; turn < 1000 && session !== undefined && open.has(session); turn++) {
    await sleep(10);
  }
  return session !== undefined && !open.has(session);
}

compare(
  "idle_timeout: a connection without streams is closed, one with streams is not",
  async (plane) => {
    const slow = plane.ask("/idle/slow");
    const late = await slow;
    const isGone = await untilGone(sessions[0]);
    const next = await plane.ask("/idle");
    const told = [`${late.status} ${late.body}`, `gone: ${isGone}`, next.body];
    assert.deepEqual(told, ["200 0", "gone: true", "1"], plane.name);
    return told;
  },
);

compare("max_concurrent_streams: what is more goes over another connection", async (plane) => {
  const answers = await Promise.all(Array.from({ length: 5 }, () => plane.ask("/streams/slow")));
  const counts = [0, 1, 2]
    .map((at) => answers.filter(({ body }) => body === String(at)).length)
    .toSorted((a, b) => a - b);
  assert.deepEqual([sessions.length, counts], [3, [1, 2, 2]], plane.name);
  return counts.map(String);
});
