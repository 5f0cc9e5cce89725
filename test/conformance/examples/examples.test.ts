/**
 * The kinds of configuration that Envoy's documentation shows: each runs and serves a request, or is
 * refused with the file's line and the name of what is not supported.
 */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as plainRequest, type Server } from "node:http";
import { request as secureRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { runProxy } from "../../../src/cli/commands/proxy.ts";
import { CommandFailure } from "../../../src/cli/exit.ts";
import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import type { ExamplePorts } from "./pieces.ts";
import { refusedExamples } from "./refused.ts";
import { type Ask, runningExamples } from "./running.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-examples-"));
const servers: Server[] = [];
const applications: Record<"app" | "other", number> = { app: 0, other: 0 };
let rootPem = "";

before(async () => {
  for (const name of ["app", "other"] as const) {
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      request.resume();
      response.end(`${name} ${request.url}`);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const bound = server.address();
    assert.ok(typeof bound === "object" && bound !== null);
    applications[name] = bound.port;
    servers.push(server);
  }
  const authority = await makeTestAuthority();
  const own = await authority.issue({ dnsNames: ["server.test"] });
  ({ rootPem } = authority);
  writeFileSync(join(folder, "root.pem"), rootPem);
  writeFileSync(join(folder, "cert.pem"), own.chainPem);
  writeFileSync(join(folder, "key.pem"), own.privateKeyPem);
  // The benchmark trusts the file that it shows.
  const bench = join(folder, "bench");
  mkdirSync(bench);
  writeFileSync(join(bench, "cert.pem"), `${own.chainPem}\n${rootPem}`);
  copyFileSync(join(folder, "key.pem"), join(bench, "key.pem"));
});

after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

test("there are at least thirty kinds of each sort", () => {
  assert.ok(runningExamples.length >= 30 && refusedExamples.length >= 30);
});

for (const { kind, text, files, asks = [] } of runningExamples) {
  test(`${kind}: runs`, async (t) => {
    const ports = await freePorts();
    for (const [name, content] of Object.entries(files?.(ports) ?? {})) {
      writeFileSync(join(folder, name), content);
    }
    const running = await runProxy({
      ...quiet,
      config: write(kind, text(ports, folder)),
    });
    t.after(() => running.stop());
    for (const ask of asks) {
      assert.equal(await answerOf(ports.listener, ask), ask.answer, JSON.stringify(ask));
    }
  });
}

for (const { kind, text, names, line } of refusedExamples) {
  test(`${kind}: is refused by name and line`, async () => {
    const content = text(await freePorts());
    const config = write(kind, content);
    const failure = await runProxy({ ...quiet, config }).then(
      async (running) => {
        await running.stop();
        return undefined;
      },
      (thrown: unknown) => thrown,
    );
    assert.ok(failure instanceof CommandFailure, "it runs");
    const problem = failure.message.split("\n").find((one) => one.includes(names));
    assert.ok(problem !== undefined, failure.message);
    const [, number] = new RegExp(`^${config}:(\\d+): `).exec(problem) ?? [];
    assert.ok(number !== undefined, problem);
    assert.ok(content.split("\n")[Number(number) - 1]?.includes(line), `${problem}\n${content}`);
  });
}

for (const name of ["plain", "mesh", "pair", "tcp", "pair-h2"]) {
  test(`the benchmark's ${name}.yaml runs`, async (t) => {
    const ports = await freePorts();
    const config = write(`bench-${name}`, benchmarkFile(name, ports));
    const running = await runProxy({ ...quiet, config });
    t.after(() => running.stop());
    assert.equal(await answerOf(ports.listener, { answer: "" }), "200 app /");
  });
}

/** As it stands, with places for this machine filled in. */
function benchmarkFile(name: string, ports: ExamplePorts): string {
  const text = readFileSync(
    new URL(`../../../bench/data-plane/${name}.yaml`, import.meta.url),
    "utf8",
  );
  return text
    .replaceAll("__PORT__", String(ports.listener))
    .replaceAll("__PEER__", String(ports.second))
    .replaceAll("__BACKEND__", String(ports.app))
    .replaceAll("__COLLECTOR__", String(ports.other))
    .replaceAll("__FOLDER__", join(folder, "bench"))
    .replaceAll("__NAME__", name);
}

const quiet = { logLevel: "error", logFormat: "json", drainTimeS: "0" } as const;

function write(kind: string, content: string): string {
  const file = join(folder, `${kind.replaceAll(/\W/g, "-")}.yaml`);
  writeFileSync(file, content.replaceAll("FOLDER", folder));
  return file;
}

async function freePorts(): Promise<ExamplePorts> {
  return {
    listener: await freePort(),
    second: await freePort(),
    admin: await freePort(),
    ...applications,
  };
}

function answerOf(port: number, ask: Ask): Promise<string> {
  const { path = "/", method = "GET", headers = {}, secure = false } = ask;
  const host = headers["host"]?.replace("OTHER", String(applications.other));
  const options = {
    port,
    host: "127.0.0.1",
    path,
    method,
    agent: false as const,
    headers: { ...headers, ...(host === undefined ? {} : { host }) },
  };
  return new Promise((resolve) => {
    const request = secure
      ? secureRequest({ ...options, servername: "server.test", ca: rootPem })
      : plainRequest(options);
    request.on("response", (response) => {
      let body = "";
      response.on("data", (bytes: Buffer) => (body += bytes.toString()));
      response.on("end", () => resolve(`${response.statusCode} ${body}`));
    });
    request.on("error", () => resolve("closed"));
    request.on("connect", (_response, socket) => {
      socket.destroy();
      resolve("closed");
    });
    request.end();
  });
}
