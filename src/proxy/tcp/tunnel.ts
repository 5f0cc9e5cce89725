/**
 * A TCP connection through another proxy (`tunneling_config`): what is asked of it by CONNECT, and how
 * that is written, and the answer read, over HTTP/1.1. What follows the answer is the connection itself.
 * Over HTTP/2 it is a stream (`../http2/connect-channel.ts`).
 */
import type { TcpProxy_TunnelingConfig as TunnelingConfig } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import type { UpstreamCluster } from "../context.ts";
import { compileHeaderEdit, type EditableHeaders } from "../engine/header-edit.ts";
import { compileHeaderFormat } from "../engine/header-format.ts";
import { compileAdditions } from "../engine/header-operations.ts";
import { refuse } from "../engine/refusal.ts";
import type { ConnectionView, RequestView } from "../engine/request.ts";
import { speaksHttp2 } from "../http/dial-options.ts";
import type { AnswerFields, AnswerListener, ConnectRequest } from "../http2/connect-channel.ts";
import { compileAnswerKeeper } from "./tunnel-answer.ts";
import { compileTunnelIds } from "./tunnel-id.ts";

/** The request that opens the tunnel of a connection. */
export interface TunnelPlan {
  /** By POST, whose bodies HTTP frames. */
  readonly isPosted: boolean;
  readonly ask: (connection: Pick<RequestView, "connection" | "record">) => ConnectRequest;
  /** Keeps what is answered; undefined: nobody wants to know. */
  readonly keeper?: ((connection: ConnectionView) => AnswerListener) | undefined;
}

export function compileTunnel(config: TunnelingConfig, path: string): TunnelPlan {
  if (config.hostname === "") refuse(`${path}.hostname`, "is required");
  const hostname = compileHeaderFormat(config.hostname, `${path}.hostname`);
  const edit = compileHeaderEdit(compileAdditions(config.headersToAdd, `${path}.headers_to_add`));
  const postPath = compilePostPath(config, `${path}.post_path`);
  const identify = compileTunnelIds(config, path);
  const ask: TunnelPlan["ask"] = (about) => {
    const request = { ...noRequest, ...about };
    const host = typeof hostname === "string" ? hostname : hostname(request);
    const fields = new Fields();
    identify?.(fields, about.connection);
    edit?.(fields, request);
    return { authority: printable(host), path: postPath, fields: fields.list };
  };
  return { isPosted: postPath !== undefined, ask, keeper: compileAnswerKeeper(config) };
}

/** As a request like others; where HTTP/1.1 is known to be spoken a CONNECT needs a connection of its own. */
export function isCarried({ isPosted }: TunnelPlan, cluster: UpstreamCluster): boolean {
  return isPosted || cluster.http2?.when === "agreed" || speaksHttp2(cluster, false);
}

/** Undefined for CONNECT. */
function compilePostPath({ usePost, postPath }: TunnelingConfig, path: string): string | undefined {
  if (!usePost) return postPath === "" ? undefined : refuse(path, "needs use_post");
  if (postPath === "") return "/";
  return /^\/[\x21-\x7e]*$/.test(postPath) ? postPath : refuse(path, "is no path");
}

/** Its head over HTTP/1.1; of CONNECT. */
export function writeTunnelHead({ authority, fields }: ConnectRequest): Buffer {
  const lines = [["host", authority], ...fields].map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`CONNECT ${authority} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1");
}

/** A connection says nothing that a header could. */
const noRequest = {
  method: "",
  path: "",
  authority: "",
  scheme: "",
  header: () => undefined,
} as const;

class Fields implements EditableHeaders {
  list: (readonly [name: string, value: string])[] = [];

  has(name: string): boolean {
    return this.list.some(([other]) => other === name);
  }

  add(name: string, value: string): void {
    this.list.push([name, printable(value)]);
  }

  set(name: string, value: string): void {
    this.remove(name);
    this.add(name, value);
  }

  remove(name: string): void {
    this.removeMatching((other) => other === name);
  }

  removeMatching(matches: (name: string) => boolean): void {
    this.list = this.list.filter(([other]) => !matches(other));
  }
}

/** What would end its line is left out: it comes from a peer. */
function printable(value: string): string {
  return value.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "");
}

/** `early`: bytes of the tunnel that came with the answer. */
export type TunnelAnswer =
  | { readonly kind: "more" }
  | { readonly kind: "open"; readonly early: Buffer }
  | { readonly kind: "refused"; readonly reason: string };

const headBytesMax = 61_440;

/** Takes what comes until it is known whether the tunnel stands. */
export class TunnelAnswerReader {
  #received: Buffer = Buffer.alloc(0);
  readonly #listener: AnswerListener | undefined;

  constructor(listener?: AnswerListener) {
    this.#listener = listener;
  }

  read(chunk: Buffer): TunnelAnswer {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      const end = this.#received.indexOf("\r\n\r\n");
      if (end < 0 && this.#received.length <= headBytesMax) return { kind: "more" };
      if (end < 0 || end > headBytesMax) return refused("the answer's head is too large");
      const head = this.#received.toString("latin1", 0, end);
      const status = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?(?:\r\n|$)/.exec(head)?.[1];
      if (status === undefined) return refused("the answer is not HTTP/1.1");
      const early = this.#received.subarray(end + 4);
      const isInterim = status.startsWith("1") && status !== "101";
      if (!isInterim) this.#listener?.onHeaders?.(fieldsOf(status, head));
      if (status.startsWith("2")) return { kind: "open", early };
      if (!isInterim) return refused(`the answer is ${status}`);
      this.#received = early;
    }
  }
}

function fieldsOf(status: string, head: string): AnswerFields {
  const lines = head.split("\r\n").slice(1);
  const fields = lines.flatMap((line): [string, string][] => {
    const colon = line.indexOf(":");
    if (colon <= 0) return [];
    return [[line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]];
  });
  return [[":status", status], ...fields];
}

function refused(reason: string): TunnelAnswer {
  return { kind: "refused", reason: `no tunnel: ${reason}` };
}
