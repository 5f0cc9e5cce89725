/** Six other HTTP/1.1 readers: servers and parsers of servers. Each says which requests a stream holds. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

import { freePort } from "../../support/free-port.ts";

/** `method target`, with the content's length where the reader tells it; or `refused: why`. */
export type ReadRequests = readonly string[];

export interface StreamReader {
  readonly name: string;
  /** Its answers hold the content's length. */
  readonly tellsLength: boolean;
  read(streams: readonly Buffer[]): Promise<readonly ReadRequests[]>;
  readonly close: () => Promise<void>;
}

/** A request for this target ends what servers are sent. */
export const lastTarget = "/last-of-the-stream";
const lastRequest = Buffer.from(
  `GET ${lastTarget} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`,
);
const nothing = async (): Promise<void> => {};

/** A program that reads base64 lines and answers lines of JSON. */
function program(name: string, command: string, args: readonly string[], env = {}): StreamReader {
  return {
    name,
    tellsLength: true,
    close: nothing,
    read: async (streams) => {
      const child = spawn(command, args, {
        stdio: ["pipe", "pipe", "inherit"],
        env: { ...process.env, ...env },
      });
      const failed = new Promise<never>((_, reject) => child.once("error", reject));
      for (const stream of streams) {
        child.stdin.write(`${Buffer.concat([stream, lastRequest]).toString("base64")}\n`);
      }
      child.stdin.end();
      const lines: ReadRequests[] = [];
      const readAll = async (): Promise<void> => {
        for await (const line of createInterface({ input: child.stdout })) {
          const requests: readonly (readonly [string, string, number])[] = JSON.parse(line);
          lines.push(
            requests.map(([method, target, length]) =>
              method === "refused" ? `refused: ${target}` : `${method} ${target} ${length}`,
            ),
          );
        }
      };
      await Promise.race([readAll(), failed]);
      return lines;
    },
  };
}

interface Server {
  readonly name: string;
  readonly tellsLength: boolean;
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** A server that answers each request with a body of one line: what it read. */
function server({ name, tellsLength, port, close }: Server): StreamReader {
  return {
    name,
    tellsLength,
    close,
    read: async (streams) => {
      const results: ReadRequests[] = Array.from({ length: streams.length }, () => []);
      let next = 0;
      const work = async (): Promise<void> => {
        while (next < streams.length) {
          const index = next++;
          results[index] = await askServer(port, streams[index] ?? Buffer.alloc(0));
        }
      };
      await Promise.all(Array.from({ length: 16 }, work));
      return results;
    },
  };
}

function askServer(port: number, stream: Buffer): Promise<ReadRequests> {
  return new Promise((done) => {
    let received = "";
    const socket = net.connect(port, "127.0.0.1");
    const timer = setTimeout(() => socket.destroy(), 5_000);
    socket.on("data", (chunk) => (received += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      done(requestsIn(received));
    });
    socket.write(Buffer.concat([stream, lastRequest]));
  });
}

/** Answers say `READ method target`; every other answer is a refusal. */
function requestsIn(received: string): ReadRequests {
  return received
    .split(/(?=HTTP\/1\.[01] \d{3})/)
    .filter((answer) => answer !== "" && !/^HTTP\/1\.1 1\d\d/.test(answer))
    .map((answer) => {
      // Answers to HEAD have no body: the field says the same.
      const found = /\r\nx-read: (.*)\r\n/i.exec(answer);
      return found?.[1] ?? `refused: ${answer.split("\r\n", 1)[0] ?? ""}`;
    });
}

async function startNode(): Promise<StreamReader> {
  const listening = http.createServer({ maxHeaderSize: 1 << 20 }, (request, response) => {
    let length = 0;
    request.on("data", (chunk: Buffer) => (length += chunk.length));
    request.on("end", () => {
      response.setHeader("x-read", `${request.method} ${request.url} ${length}`);
      response.end();
    });
  });
  // What asks for another protocol is a request all the same.
  listening.on("checkExpectation", (_, response) => response.end());
  const port = await freePort();
  await new Promise<void>((listens) => listening.listen(port, "127.0.0.1", listens));
  const close = async (): Promise<void> => {
    listening.closeAllConnections();
    listening.close();
  };
  return server({ name: "Node", tellsLength: true, port, close });
}

async function startDaemon(
  name: string,
  ...[configure, argsFor]: [
    configure: (port: number, folder: string) => string,
    argsFor: (file: string) => readonly [string, ...string[]],
  ]
): Promise<StreamReader> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-reader-"));
  const port = await freePort();
  const file = join(folder, "reader.conf");
  writeFileSync(file, configure(port, folder));
  const [command, ...args] = argsFor(file);
  const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
  const child = spawn(command, args, { stdio: "ignore", env: { ...process.env, PATH: path } });
  const exited = new Promise<void>((done) => {
    child.once("exit", () => done());
    child.once("error", () => done());
  });
  await untilOpen(port, name);
  return server({
    name,
    tellsLength: false,
    port,
    close: async () => {
      child.kill("SIGTERM");
      await exited;
      rmSync(folder, { recursive: true });
    },
  });
}

async function untilOpen(port: number, name: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const isOpen = await new Promise<boolean>((done) => {
      const socket = net.connect(port, "127.0.0.1", () => done(true));
      socket.once("error", () => setTimeout(() => done(false), 50));
      socket.once("connect", () => socket.destroy());
    });
    if (isOpen) return;
  }
  throw new Error(`${name} does not listen on port ${port}`);
}

function nginxConfig(port: number, folder: string): string {
  return `daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 512; }
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  large_client_header_buffers 8 128k; client_max_body_size 0; merge_slashes off; keepalive_requests 10000;
  server {
    listen 127.0.0.1:${port} default_server;
    add_header x-read "$request_method $request_uri";
    location / { return 200; }
  }
}
`;
}

function haproxyConfig(port: number): string {
  return `global
  tune.bufsize 262144
  tune.http.maxhdr 1000
defaults
  mode http
  timeout client 4s
  timeout connect 1s
  timeout server 4s
  timeout http-request 4s
frontend in
  bind 127.0.0.1:${port}
  option http-buffer-request
  http-request return status 200 hdr x-read "%[method] %[pathq]"
`;
}

/** Where `npm test` puts what has no Debian package. */
export const readersFolder: string = resolve(".cache/readers");

export async function startReaders(): Promise<readonly StreamReader[]> {
  const script = join(import.meta.dirname, "python_reader.py");
  const env = { PYTHONPATH: join(readersFolder, "python") };
  return [
    await startDaemon("nginx", nginxConfig, (file) => ["nginx", "-c", file]),
    await startDaemon("HAProxy", haproxyConfig, (file) => ["haproxy", "-db", "-f", file]),
    await startNode(),
    program("Go", join(readersFolder, "go-reader"), []),
    program("h11", "python3", [script, "h11"], env),
    program("gunicorn", "python3", [script, "gunicorn"], env),
  ];
}

/** What is missing on this machine, as a sentence; undefined when all is there. */
export function missingReader(): string | undefined {
  const { status } = spawnSync(join(readersFolder, "go-reader"), { input: "" });
  return status === 0 ? undefined : "run npm test, which installs the readers";
}
