/** A proxy whose memory runs short sheds load, as Envoy does by the same configuration. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, createServer, request, type IncomingMessage, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { after, before, test } from "node:test";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import {
  proxyBootstrap,
  type ProxyProcess,
  startProxyProcess,
} from "../../support/proxy-process.ts";

let application: Server;
let applicationPort: number;
const body = Buffer.alloc(16 * 1024 * 1024, "x");

before(async () => {
  application = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    outgoing.end(incoming.url === "/large" ? body : "served");
  });
  application.listen(0, "127.0.0.1");
  await once(application, "listening");
  // A TCP server's address, once it listens on a port.
  applicationPort = (application.address() as AddressInfo).port;
});

after(() => {
  application.closeAllConnections();
  application.close();
});

const heapMonitor = {
  name: "envoy.resource_monitors.fixed_heap",
  typed_config: {
    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
    max_heap_size_bytes: 1_000_000,
  },
};

function overloadOf(action: string): Readonly<Record<string, unknown>> {
  return {
    overload_manager: {
      refresh_interval: "0.1s",
      resource_monitors: [heapMonitor],
      actions: [
        {
          name: `envoy.overload_actions.${action}`,
          triggers: [{ name: heapMonitor.name, threshold: { value: 0.9 } }],
        },
      ],
    },
  };
}

const toldInBody = {
  local_reply_config: {
    body_format: {
      text_format_source: {
        inline_string: "%LOCAL_REPLY_BODY% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
      },
    },
  },
};

test("requests are refused as Envoy refuses them: status, body, flag, details, counter", async () => {
  const bootstrap = overloadOf("stop_accepting_requests");
  const options = { applicationPort, bootstrap, manager: toldInBody };
  const heddle = await startProxyProcess({ io: "portable", ...options });
  const binary = findEnvoy();
  assert.ok(binary !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  const { config, ports } = await proxyBootstrap(options);
  const envoy = startEnvoy(binary, config);
  try {
    const ours = await refusal(heddle.port);
    const body = "envoy overloaded - overload";
    assert.deepEqual(ours, { status: 503, body, connection: undefined });
    assert.deepEqual(ours, await refusal(ports.port));
    const name = "envoy_http_downstream_rq_overload_close";
    assert.match(
      await heddle.admin("/stats/prometheus"),
      new RegExp(`^${name}\\{.*\\} [1-9]`, "m"),
    );
    assert.match(heddle.log(), /overload: an action begins .*stop_accepting_requests/);
  } finally {
    await heddle.stop();
    await envoy.stop();
  }
});

test("connections end with their answers, or are not taken at all", async () => {
  const ending = await startProxyProcess({
    io: "epoll",
    applicationPort,
    bootstrap: overloadOf("disable_http_keepalive"),
  });
  try {
    const answer = await ask(ending.port);
    assert.deepEqual(answer, { status: 200, body: "served", connection: "close" });
  } finally {
    await ending.stop();
  }
  const refusing = await startProxyProcess({
    io: "epoll",
    applicationPort,
    args: ["--concurrency", "2"],
    bootstrap: overloadOf("reject_incoming_connections"),
  });
  try {
    await assert.rejects(ask(refusing.port), /ECONNRESET|hang up/);
    const counted = /^envoy_listener_downstream_cx_overload_reject\{.*\} [1-9]/m;
    // A worker that is busy for a second is left out of an answer.
    let metrics = "";
    for (let tries = 0; tries < 10 && !counted.test(metrics); tries++) {
      metrics = await refusing.admin("/stats/prometheus");
    }
    assert.match(metrics, counted);
  } finally {
    await refusing.stop();
  }
});

test("an overload manager that would not be acted on stops the proxy with its line", async () => {
  const starting = startProxyProcess({
    io: "portable",
    applicationPort,
    bootstrap: overloadOf("reduce_timeouts"),
  });
  await assert.rejects(starting, /overload_manager.*reduce_timeouts is not supported/);
});

for (const io of ["portable", "epoll"] as const) {
  test(`slow readers of large answers, ${io}: what waits for them is bounded, others are served`, async () => {
    const proxy = await startProxyProcess({ io, applicationPort, bufferBytesMax: 32_768 });
    const slow: Socket[] = [];
    try {
      await ask(proxy.port);
      const before = proxy.memory().anonymous;
      for (let i = 0; i < 200; i++) slow.push(await slowReader(proxy));
      await settled(proxy);
      const grown = proxy.memory().anonymous - before;
      // Each may hold the watermark and a read beyond it, on the way in and out; V8 lets 64 MB of
      // dead buffers stand before it collects. Without a bound it would be 3 GB.
      assert.ok(grown < 200 * (32_768 + 2 * 65_536) + 96e6, `${Math.round(grown / 1e6)} MB`);
      assert.equal((await ask(proxy.port)).status, 200);
    } finally {
      for (const socket of slow) socket.destroy();
      await proxy.stop();
    }
  });
}

async function slowReader({ port }: ProxyProcess): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.pause();
  socket.write("GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
  return socket;
}

/** Until its memory stands still. */
async function settled(proxy: ProxyProcess): Promise<void> {
  let last = -1;
  for (let tries = 0; tries < 40; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    const { anonymous } = proxy.memory();
    if (Math.abs(anonymous - last) < 500_000) return;
    last = anonymous;
  }
}

interface Answer {
  readonly status: number | undefined;
  readonly body: string;
  readonly connection: string | undefined;
}

/** Once it refuses: the first look at the memory may not have been taken yet. */
async function refusal(port: number): Promise<Answer> {
  for (let tries = 0; tries < 100; tries++) {
    const answer = await ask(port).catch(() => undefined);
    if (answer !== undefined && answer.status !== 200) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("it refuses nothing");
}

async function ask(port: number): Promise<Answer> {
  const agent = new Agent({ keepAlive: true });
  const asking = request({ port, host: "127.0.0.1", agent });
  const answered = once(asking, "response");
  asking.end();
  const [response]: IncomingMessage[] = await answered;
  assert.ok(response !== undefined);
  let text = "";
  for await (const chunk of response) text += String(chunk);
  agent.destroy();
  return { status: response.statusCode, body: text, connection: response.headers.connection };
}
