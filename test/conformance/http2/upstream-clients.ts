/** Clients of either protocol that ask once and tell all that came back. */
import http from "node:http";
import http2 from "node:http2";

import type { Script } from "./upstream-endpoints.ts";

export interface Question {
  readonly name: string;
  /** Of its clients; both unless told. */
  readonly client?: "http1" | "http2";
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | number;
  readonly trailers?: Readonly<Record<string, string>>;
  /** What the endpoint of frames does; its path begins with `/raw`. */
  readonly script?: Script;
}

export interface Answer {
  readonly status: number | string;
  readonly interim: readonly string[];
  /** Without those that differ by chance. */
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

const accidental = /^(date|x-envoy-upstream-service-time|connection|keep-alive)$/;
const patienceMs = 30_000;

function bodyOf({ body }: Question): Buffer | undefined {
  if (body === undefined) return undefined;
  return typeof body === "number" ? Buffer.alloc(body, "b") : Buffer.from(body);
}

function short(text: string): string {
  return text.length > 200 ? `${text.length} bytes` : text;
}

function linesOf(
  fields: Readonly<Record<string, string | readonly string[] | undefined>>,
): string[] {
  return Object.entries(fields)
    .filter(([name]) => !name.startsWith(":") && !accidental.test(name))
    .flatMap(([name, value]) => [value ?? ""].flat().map((one) => `${name}: ${one}`))
    .toSorted();
}

export function askHttp1(port: number, question: Question): Promise<Answer> {
  const { method = "GET", path, headers = {}, trailers } = question;
  const body = bodyOf(question);
  const interim: string[] = [];
  return new Promise((resolve) => {
    const failed = (status: string): void =>
      resolve({ status, interim, fields: [], body: "", trailers: [] });
    const framing = trailers === undefined ? {} : { "transfer-encoding": "chunked" };
    const request = http.request({
      port,
      host: "127.0.0.1",
      method,
      path,
      headers: { ...framing, ...headers },
      agent: false,
      timeout: patienceMs,
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => failed("broken"));
    request.on("information", (info) => interim.push(`${info.statusCode}`));
    request.on("response", (response) => {
      const fields = linesOf(response.headers);
      const { statusCode = 0 } = response;
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
      response.on("error", () => {
        resolve({ status: `${statusCode} broken`, interim, fields, body: text, trailers: [] });
      });
      response.on("end", () => {
        const after = linesOf(response.trailers);
        resolve({ status: statusCode, interim, fields, body: short(text), trailers: after });
      });
    });
    if (trailers !== undefined) request.addTrailers(trailers);
    request.end(body);
  });
}

export async function askHttp2(port: number, question: Question): Promise<Answer> {
  const { method = "GET", path, headers = {}, trailers } = question;
  const body = bodyOf(question);
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  const answer = await new Promise<Answer>((resolve) => {
    const interim: string[] = [];
    let status: number | string = "none";
    let fields: string[] = [];
    let after: string[] = [];
    let text = "";
    const hasBody = body !== undefined || trailers !== undefined;
    const stream = session.request(
      { ":method": method, ":path": path, ...headers },
      { endStream: !hasBody, waitForTrailers: trailers !== undefined },
    );
    stream.setTimeout(patienceMs, () => stream.close(http2.constants.NGHTTP2_CANCEL));
    stream.on("headers", (info) => interim.push(String(info[":status"])));
    stream.on("response", (head) => {
      status = head[":status"] ?? 0;
      fields = linesOf(head);
    });
    stream.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    stream.on("trailers", (head) => (after = linesOf(head)));
    stream.on("wantTrailers", () => stream.sendTrailers(trailers ?? {}));
    stream.on("error", () => {});
    stream.on("close", () => {
      const isBroken = stream.rstCode !== 0 && stream.rstCode !== undefined;
      resolve({
        status: isBroken ? `${status} reset` : status,
        interim,
        fields,
        body: short(text),
        trailers: after,
      });
    });
    if (hasBody) stream.end(body ?? Buffer.alloc(0));
  });
  session.destroy();
  return answer;
}
