/**
 * The mesh of the traffic suite, the same for every mode and data plane: who runs, how a test makes
 * one of them send something, and how it reads back what servers saw and sidecars logged.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { findEnvoy } from "../../support/envoy.ts";
import { eventually, type MeshMode, startMesh, type TestMesh } from "./mesh.ts";
import { type LinkRecording, recordLinks } from "./security-mesh.ts";
import { markerPrefix, markers, plainMarker } from "./traffic-markers.ts";

export interface TrafficParameters {
  readonly mode: MeshMode;
  readonly dataPlane: "heddle" | "envoy";
  readonly environment?: Readonly<Record<string, string>>;
}

export interface HttpCall {
  /** As the application writes it: `web`, `vault.secure`, … */
  readonly host: string;
  readonly port?: number;
  /** Without the `key` by which a request is found again. */
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly bodyBytes?: number;
  readonly trailers?: Readonly<Record<string, string>>;
  /** Where to connect instead of where the environment says. */
  readonly direct?: { readonly host: string; readonly port: number };
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly bytes: number;
  readonly trailers: Readonly<Record<string, string>>;
  readonly ms: number;
}

export interface SeenRequest {
  readonly from: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes?: number;
}

/** An entry of the JSON access log, numbers and all as they stand there. */
export type LogEntry = Readonly<Record<string, unknown>>;

/** How a conversation goes on and ends. */
export interface Ends {
  /** What must come before the next text is sent; anything, when it is absent. */
  readonly waitFor?: string;
  /** Ends the conversation from our side. */
  readonly until?: string;
  readonly maxMs?: number;
}

export interface RawCall extends Ends {
  readonly host: string;
  readonly port?: number;
  readonly path?: string;
  /** `{target}` and `{authority}` are filled in; each but the first waits for an answer. */
  readonly texts: readonly (string | null)[];
  readonly direct?: { readonly host: string; readonly port: number };
}

export interface Conversation {
  readonly received: string;
  /** `end` of the other side, `until`, `timeout`, or the error's code. */
  readonly end: string;
}

/** Instances that serve, with their namespaces. */
const servers = [
  ["web-v1-0", "default"],
  ["web-v2-0", "default"],
  ["vault-0", "secure"],
  ["ledger-0", "default"],
] as const;

const ledger = { service: "ledger", port: 9000 } as const;

export const gatewayName = "istio-ingressgateway-0";

const meshFolder = join(import.meta.dirname, "traffic-mesh");

export async function startTraffic(parameters: TrafficParameters): Promise<Traffic> {
  const { mode, dataPlane } = parameters;
  const read = (name: string): string => readFileSync(join(meshFolder, name), "utf8");
  const names = ["heddle.yaml", "routing.yaml", "policy.yaml", "security.yaml", "gateway.yaml"];
  const files = Object.fromEntries(names.map((name) => [name, read(name)]));
  const envoy = dataPlane === "envoy" ? { HEDDLE_ENVOY: envoyFile() } : {};
  const environment = { ...envoy, ...parameters.environment };
  const mesh = await startMesh({ mode, processes: "heddle", dataPlane, files, environment });
  try {
    const links = mode === "explicit" ? undefined : await recordLinks(mesh);
    return new Traffic(mesh, parameters, links);
  } catch (error) {
    await mesh.stop();
    throw error;
  }
}

function withQuery(path: string, field: string): string {
  return `${path}${path.includes("?") ? "&" : "?"}${field}`;
}

function headersOf(call: HttpCall | RawCall): Readonly<Record<string, string>> {
  return ("headers" in call ? call.headers : undefined) ?? {};
}

function envoyFile(): string {
  const file = findEnvoy();
  assert(file !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  return file;
}

export class Traffic {
  readonly mesh: TestMesh;
  readonly mode: MeshMode;
  readonly dataPlane: "heddle" | "envoy";
  readonly #links: LinkRecording | undefined;
  #keys = 0;
  #marks = 0;

  constructor(mesh: TestMesh, parameters: TrafficParameters, links?: LinkRecording) {
    this.mesh = mesh;
    this.#links = links;
    this.mode = parameters.mode;
    this.dataPlane = parameters.dataPlane;
  }

  /** heddle.yaml as the mesh was started with it. */
  get meshFile(): string {
    return readFileSync(join(meshFolder, "heddle.yaml"), "utf8");
  }

  /** What a request is found by; goes into its query, which every log and server keeps. */
  key(): string {
    this.#keys++;
    return `k${this.#keys}k`;
  }

  /** One request, with `key` added to its query. */
  async http(call: HttpCall, key: string, from = "client-0"): Promise<HttpAnswer> {
    const { path = "/" } = call;
    const keyed = { ...call, path: withQuery(path, `key=${key}`) };
    return await this.#call<HttpAnswer>(from, { do: "http", ...this.#marked(keyed) });
  }

  /** Answers of equal requests, counted by `status server`. */
  async many(
    call: HttpCall,
    count: number,
    concurrency: number,
  ): Promise<Readonly<Record<string, number>>> {
    return await this.#call("client-0", {
      do: "many",
      count,
      concurrency,
      call: this.#marked(call),
    });
  }

  /** Bytes of HTTP as a test writes them. */
  async raw(call: RawCall): Promise<Conversation> {
    return await this.#call<Conversation>("client-0", { do: "raw", ...this.#marked(call) });
  }

  /** A conversation with the ledger; null among the texts ends our side. */
  async tcp(
    texts: readonly (string | null)[],
    ends: Ends = {},
    from = "client-0",
  ): Promise<Conversation> {
    return await this.#call<Conversation>(from, { do: "tcp", ...ledger, texts, ...ends });
  }

  /** Waits for the ledger's greeting and sends `bytes` after a command, or only reads. */
  async transfer(
    command: string,
    bytes: number,
  ): Promise<{ readonly received: number; readonly last: string; readonly ms: number }> {
    return await this.#call("client-0", { do: "transfer", ...ledger, command, bytes });
  }

  /** Reads until the ledger ends, then sends `bytes` and ends. */
  async sendLate(command: string, bytes: number): Promise<void> {
    await this.#call("client-0", { do: "sendLate", ...ledger, command, bytes });
  }

  /** A conversation with a server outside, by its address. */
  async connect(
    { address, port }: { readonly address: string; readonly port: number },
    texts: readonly string[],
    ends: Ends = {},
  ): Promise<Conversation> {
    const call = { do: "tcp", service: address, port, texts, ...ends };
    return await this.#call<Conversation>("client-0", call);
  }

  async lookup(name: string): Promise<{ readonly address: string }> {
    return await this.#call("client-0", { do: "lookup", name });
  }

  /** What servers saw of a request, each time it came. */
  async seen(key: string): Promise<readonly SeenRequest[]> {
    const found = await Promise.all(
      servers.map(async ([from, namespace]) => {
        const workload = this.mesh.workload(from, namespace);
        const entries: unknown = await workload.call({ do: "seen", key });
        assert(Array.isArray(entries));
        return entries.map((entry: SeenRequest) => ({ ...entry, from }));
      }),
    );
    return found.flat();
  }

  /** The entry that a sidecar logged of the request with `key`. */
  async logged(instance: string, key: string): Promise<LogEntry> {
    return await eventually(`${instance} logs ${key}`, () => this.loggedNow(instance, key)[0]);
  }

  loggedNow(instance: string, key: string): readonly LogEntry[] {
    return this.logLines(instance)
      .filter((line) => line.startsWith("{") && line.includes(`key=${key}`))
      .map((line): LogEntry => JSON.parse(line));
  }

  logLines(instance: string): readonly string[] {
    const known = servers.find(([name]) => name === instance)?.[1] ?? "default";
    const namespace = instance === gatewayName ? "istio-system" : known;
    return this.mesh.log(`${instance}.${namespace}.proxy.log`).split("\n");
  }

  /** Lets a server answer requests with `hold=` in their query: those that it holds and those to come. */
  async release(from: string, hold: string): Promise<void> {
    await this.#call(from, { do: "release", hold });
  }

  /** Ends the recording of the links; which markers and plain markers it holds. */
  async markersOnLinks(): Promise<ReadonlySet<string>> {
    assert(this.#links !== undefined, "the links are not recorded");
    return await this.#links.stop({ prefix: markerPrefix, length: plainMarker.length });
  }

  async stop(): Promise<void> {
    this.#links?.abandon();
    await this.mesh.stop();
  }

  /** A request within the mesh with the next marker in its query and header, or with the plain one. */
  #marked<Call extends HttpCall | RawCall>(call: Call): Call {
    const { path = "/", host } = call;
    if (!/^(?:web|vault)\b/.test(host) || call.direct !== undefined) return call;
    const next = markers[this.#marks % markers.length];
    this.#marks++;
    const marker = path.startsWith("/plaintext") ? plainMarker : next;
    const marked = { ...call, path: withQuery(path, `marker=${marker}`) };
    return "texts" in call
      ? marked
      : { ...marked, headers: { "x-marker": marker, ...headersOf(call) } };
  }

  async #call<Answer>(from: string, request: object): Promise<Answer> {
    const namespace = servers.find(([name]) => name === from)?.[1];
    const answer = await this.mesh.workload(from, namespace).call(request);
    if (typeof answer === "object" && answer !== null && "error" in answer) {
      throw new Error(`${from} failed: ${String(answer.error)}`, { cause: request });
    }
    return answer as Answer; // what the application sends is written beside it
  }
}
