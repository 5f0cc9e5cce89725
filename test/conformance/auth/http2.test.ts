/**
 * Streams of HTTP/2 that wait for an authorization, many on one connection: each gets its own answer,
 * one that its client gives up touches no other, and bodies wait with their streams.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { type ScenarioApplication, startApplication } from "../proxy/scenario-application.ts";
import { type Place, runHeddle, type RunningData } from "../proxy/scenario-proxies.ts";
import { authzBootstrap } from "./authz-bootstrap.ts";
import { type AuthzServer, startAuthzServer } from "./authz-server.ts";

let application: ScenarioApplication | undefined;
let authz: AuthzServer | undefined;
const heddles = new Map<string, { readonly data: RunningData; readonly ports: Place["ports"] }>();

before(async () => {
  application = await startApplication();
  authz = await startAuthzServer();
  const texts = authzBootstrap({
    application: application.port,
    authz: authz.port,
    refused: await freePort(),
  });
  for (const io of ["portable", "epoll"] as const) {
    let ports: Place["ports"] | undefined;
    const textsAt = (place: Place): string => {
      ports = place.ports;
      return texts(place);
    };
    const data = await runHeddle(textsAt, application, { io, workers: 0 });
    assert.ok(ports !== undefined);
    heddles.set(io, { data, ports });
  }
});

after(async () => {
  for (const { data } of heddles.values()) await data.close();
  application?.close();
  authz?.close();
});

interface Asked {
  readonly answer: Promise<string>;
  giveUp(): void;
}

/** Status and body; `reset` for a stream that was given up. */
function ask(session: http2.ClientHttp2Session, path: string, body?: string): Asked {
  const method = body === undefined ? "GET" : "POST";
  const stream = session.request({ ":method": method, ":path": path, ":authority": "shop.test" });
  const answer = new Promise<string>((resolve) => {
    let status = "";
    let text = "";
    stream.setEncoding("utf8");
    stream.on("response", (headers) => (status = String(headers[":status"])));
    stream.on("data", (chunk: string) => (text += chunk));
    stream.on("error", () => resolve("reset"));
    stream.on("close", () => resolve(status === "" ? "reset" : `${status} ${text}`));
  });
  stream.end(body);
  return { answer, giveUp: () => stream.close(http2.constants.NGHTTP2_CANCEL) };
}

for (const io of ["portable", "epoll"] as const) {
  test(`streams of HTTP/2 wait for their authorization (${io})`, async () => {
    const heddle = heddles.get(io);
    assert.ok(heddle !== undefined);
    const session = http2.connect(`http://127.0.0.1:${heddle.ports.mesh}`);
    const bodies = http2.connect(`http://127.0.0.1:${heddle.ports.edge}`);
    try {
      const late = Array.from({ length: 20 }, (_none, at) => ask(session, `/${at}/late`));
      const denied = ask(session, "/denied");
      assert.equal(await denied.answer, "403 go away");
      for (const [at, one] of late.entries()) if (at % 2 === 0) one.giveUp();
      const answers = await Promise.all(late.map(({ answer }) => answer));
      assert.deepEqual(
        answers,
        late.map((_one, at) => (at % 2 === 0 ? "reset" : "200 ok")),
      );
      assert.equal(await ask(session, "/a").answer, "200 ok");
      authz?.takeQuestions();
      assert.equal(await ask(bodies, "/a", "hello").answer, "200 ok");
      assert.equal(authz?.takeQuestions()[0]?.at(-1), "hello");
      assert.equal(await ask(bodies, "/a", "0123456789a").answer, "413 Payload Too Large");
      assert.equal(await ask(bodies, "/late", "0123456789").answer, "200 ok");
    } finally {
      session.destroy();
      bodies.destroy();
    }
  });
}
