/**
 * The console's API as commands call it: HTTP over the Unix socket of a running mesh, found in the
 * state directory. Only the owner of the mesh may open that socket, so no token is needed.
 */
import { readdirSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";

import { Option, type Command } from "commander";

import { messageOf } from "../base/error.ts";
import { leaseHolder } from "../local/lease.ts";
import { nodeHttp } from "../net/node-http.ts";
import { quoted } from "./called-as.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

export interface MeshApi {
  readonly mesh: string;
  get<Answer>(path: string): Promise<Answer>;
  getText(path: string): Promise<string>;
  postText(path: string): Promise<string>;
  post<Answer>(path: string, body: unknown, options?: { timeoutMs: number }): Promise<Answer>;
}

export interface MeshOptions {
  readonly mesh?: string;
  readonly stateDir?: string;
}

const answerBytesMax = 256 * 1024 * 1024;
const defaultTimeoutMs = 15_000;

/** Adds `--mesh` and `--state-dir`, which say whom a command talks to. */
export function addMeshOptions(command: Command): Command {
  return command
    .addOption(new Option("--mesh <name>", "which mesh, when several run").env("HEDDLE_MESH"))
    .addOption(
      new Option("--state-dir <folder>", "state directory of the mesh").env("HEDDLE_STATE_DIR"),
    );
}

/** Folder that holds one folder for each mesh of this user. */
export function stateRoot(): string {
  const base = process.env["XDG_STATE_HOME"];
  return join(
    base === undefined || base === "" ? join(homedir(), ".local", "state") : base,
    "heddle",
  );
}

/** The state directory of the mesh that is meant; refuses as `connectToMesh` does. */
export function meshFolder(options: MeshOptions): string {
  return options.stateDir ?? chooseMesh(options.mesh);
}

/** Finds the running mesh; refuses when there is none, or several and no name. */
export function connectToMesh(options: MeshOptions): MeshApi {
  const folder = meshFolder(options);
  return apiOf(basename(resolve(folder)), join(folder, "api.sock"));
}

/** The state directory of the mesh of that name, or of the only one that runs; `remedy` names one of several. */
export function chooseMesh(name: string | undefined, remedy = "name one with --mesh"): string {
  const running = runningMeshes();
  if (name !== undefined) {
    const folder = join(stateRoot(), name);
    if (leaseHolder(folder) !== undefined) return folder;
    throw new CommandFailure(
      exitCodes.unreachable,
      `mesh ${name} is not running; ${whatRuns(running)}`,
    );
  }
  const [only, ...others] = running;
  if (only === undefined) {
    throw new CommandFailure(
      exitCodes.unreachable,
      "no mesh is running here; start one with 'heddle up DIR'",
    );
  }
  if (others.length > 0) throw severalRun(running, remedy);
  return only.stateDir;
}

export interface FoundMesh {
  readonly name: string;
  readonly stateDir: string;
  /** Where it was started from. */
  readonly directory: string;
}

/** Meshes that this user runs and whose state is in the usual place. */
export function runningMeshes(): readonly FoundMesh[] {
  const root = stateRoot();
  return listFolders(root).flatMap((name) => {
    const stateDir = join(root, name);
    const holder = leaseHolder(stateDir);
    return holder === undefined ? [] : [{ name, stateDir, directory: holder.directory }];
  });
}

/** What a command that is suggested must add to mean this mesh: nothing where no other could be meant. */
export function meshWords(stateDir: string): string {
  const running = runningMeshes();
  const found = running.find((one) => resolve(one.stateDir) === resolve(stateDir));
  if (found === undefined) return ` --state-dir ${quoted(resolve(stateDir))}`;
  return running.length === 1 ? "" : ` --mesh ${found.name}`;
}

export function severalRun(running: readonly FoundMesh[], remedy: string): CommandFailure {
  const names = running.map(({ name }) => name).join(", ");
  return new CommandFailure(exitCodes.usage, `several meshes are running (${names}); ${remedy}`);
}

/** The second half of a sentence that says what does not run. */
export function whatRuns(running: readonly FoundMesh[]): string {
  if (running.length === 0) return "start it with 'heddle up DIR'";
  return `running: ${running.map(({ name }) => name).join(", ")}`;
}

function listFolders(root: string): readonly string[] {
  try {
    return readdirSync(root);
  } catch {
    return []; // No state at all: nothing has run here yet.
  }
}

function apiOf(mesh: string, socketPath: string): MeshApi {
  const call = (method: string, path: string, body?: unknown, timeoutMs = defaultTimeoutMs) =>
    send({ mesh, socketPath, method, path, body, timeoutMs });
  return {
    mesh,
    get: async (path) => JSON.parse(await call("GET", path)),
    getText: (path) => call("GET", path),
    postText: (path) => call("POST", path),
    post: async (path, body, options) =>
      JSON.parse(await call("POST", path, body, options?.timeoutMs)),
  };
}

interface Call {
  readonly mesh: string;
  readonly socketPath: string;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly timeoutMs: number;
}

function send(call: Call): Promise<string> {
  return new Promise((resolveAnswer, reject) => {
    const payload = call.body === undefined ? undefined : JSON.stringify(call.body);
    const headers = {
      host: "localhost",
      accept: "application/json, text/plain",
      ...(payload === undefined
        ? {}
        : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
    };
    const outgoing = nodeHttp.request(
      { socketPath: call.socketPath, method: call.method, path: call.path, headers },
      (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > answerBytesMax) outgoing.destroy(new Error("the answer is too large"));
          else chunks.push(chunk);
        });
        incoming.on("error", (error) => reject(unreachable(call, error)));
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          const status = incoming.statusCode ?? 0;
          if (status >= 200 && status < 300) resolveAnswer(text);
          else reject(refused(call, status, text));
        });
      },
    );
    outgoing.setTimeout(call.timeoutMs, () =>
      outgoing.destroy(new Error(`no answer within ${call.timeoutMs / 1000} s`)),
    );
    outgoing.on("error", (error) => reject(unreachable(call, error)));
    outgoing.end(payload);
  });
}

function unreachable(call: Call, cause: Error): CommandFailure {
  const code = "code" in cause ? String(cause.code) : "";
  return new CommandFailure(exitCodes.unreachable, whyUnreachable(call, code, cause), { cause });
}

function whyUnreachable({ mesh, socketPath, path }: Call, code: string, cause: Error): string {
  switch (code) {
    case "ENOENT":
    case "ECONNREFUSED":
      return leaseHolder(dirname(socketPath)) === undefined
        ? `mesh ${mesh} is not running; start it with 'heddle up DIR'`
        : `the control plane of mesh ${mesh} is starting or has failed; 'heddle status' asks its proxies, and ${join(dirname(socketPath), "logs", "control.log")} says why`;
    case "EACCES":
      return `mesh ${mesh} belongs to another user; its socket ${socketPath} may not be opened`;
    default:
      return `mesh ${mesh} did not answer ${path}: ${cause.message}`;
  }
}

function refused(call: Call, status: number, text: string): CommandFailure {
  let message = text.slice(0, 500);
  try {
    const answer: unknown = JSON.parse(text);
    if (answer !== null && typeof answer === "object" && "message" in answer) {
      message = String(answer.message);
    }
  } catch (error) {
    if (text === "") message = `HTTP status ${status} without a body (${messageOf(error)})`;
  }
  const unavailable = status === 502 || status === 503 || status === 504;
  return new CommandFailure(unavailable ? exitCodes.unreachable : exitCodes.findings, message);
}
