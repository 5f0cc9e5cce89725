/**
 * The state-of-the-world variant: requests name all that is wanted, responses hold it. Only for
 * listeners and clusters does a response without a name say that the resource is gone; of routes and
 * endpoints a server may send a part.
 */
import { BinaryReader } from "@bufbuild/protobuf/wire";

import {
  DiscoveryRequest,
  DiscoveryResponse,
  Resource,
} from "../../wire/gen/ts/envoy/service/discovery/v3/discovery.ts";
import type { Any } from "../../wire/gen/ts/google/protobuf/any.ts";
import { grpcStatus } from "../../wire/grpc.ts";
import { typeUrls } from "../feed.ts";
import type { DeltaResource, Received, Wish } from "./delta-subscription.ts";
import type {
  AnsweredResponse,
  ClientProtocol,
  ClientResponse,
  ClientSubscription,
  EncodeRequest,
} from "./protocol.ts";

export const sotwProtocol: ClientProtocol = {
  path: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
  subscription: (typeUrl, wish) => new SotwClientSubscription(typeUrl, wish),
  decode,
};

/** Types of which a response holds all there is. */
const wholeTypes: ReadonlySet<string> = new Set([typeUrls.listener, typeUrls.cluster]);
/** Types whose name is their first field. */
const namedTypes: ReadonlySet<string> = new Set([
  ...wholeTypes,
  typeUrls.route,
  typeUrls.endpoint,
  typeUrls.extension,
  typeUrls.secret,
]);
const wrapperUrl = "type.googleapis.com/envoy.service.discovery.v3.Resource";

interface Held {
  /** Of the response that first held these bytes. */
  readonly version: string;
  readonly bytes: Uint8Array;
}

export class SotwClientSubscription implements ClientSubscription {
  readonly typeUrl: string;
  #wish: Wish;
  /** The wish that this stream's server was told last. */
  #requested: Wish | undefined;
  #held: ReadonlyMap<string, Held> = new Map();
  /** Of wanted names, those that some response has held, accepted or not. */
  #answered: ReadonlySet<string> = new Set();
  /** Of the last response that was accepted, on any stream. */
  #version = "";
  /** Of the last response on this stream. */
  #nonce = "";

  constructor(typeUrl: string, wish: Wish) {
    this.typeUrl = typeUrl;
    this.#wish = wish;
  }

  get held(): ReadonlyMap<string, string> {
    return new Map([...this.#held].map(([name, { version }]) => [name, version]));
  }

  setWish(wish: Wish): void {
    this.#wish = wish === "*" ? wish : new Set(wish);
    if (wish === "*") return;
    this.#held = new Map([...this.#held].filter(([name]) => wish.has(name)));
    this.#answered = this.#answered.intersection(wish);
  }

  streamLost(): void {
    this.#requested = undefined;
    this.#nonce = "";
  }

  nextRequest(): EncodeRequest | undefined {
    const before = this.#requested;
    const wish = this.#wish;
    if (before === wish) return undefined;
    // Without names a first request would mean everything.
    if (before === undefined && wish !== "*" && wish.size === 0) return undefined;
    if (before !== undefined && isSame(before, wish)) return undefined;
    return this.#request({ version: this.#version, nonce: this.#nonce }, undefined);
  }

  answer({ version, nonce }: AnsweredResponse, refusal: string | undefined): EncodeRequest {
    const named = refusal === undefined ? version : this.#version;
    return this.#request({ version: named, nonce }, refusal);
  }

  /** Each request names all that is wanted: an answer may bring a new wish with it. */
  #request({ version, nonce }: AnsweredResponse, refusal: string | undefined): EncodeRequest {
    this.#requested = this.#wish;
    const request = DiscoveryRequest.fromPartial({
      typeUrl: this.typeUrl,
      versionInfo: version,
      responseNonce: nonce,
      resourceNames: this.#wish === "*" ? [] : [...this.#wish],
      ...(refusal === undefined
        ? {}
        : { errorDetail: { code: grpcStatus.invalidArgument, message: refusal, details: [] } }),
    });
    return (node) =>
      DiscoveryRequest.encode(node === undefined ? request : { ...request, node }).finish();
  }

  /**
   * Only what differs from what is held is handed on. That may be applied though the response is
   * refused for another resource, so it is not held any more until a response is accepted.
   */
  receive({ nonce, resources }: ClientResponse): Received {
    this.#nonce = nonce;
    const names = new Set<string>();
    for (const { name } of resources) {
      if (name === "") return { kind: "broken", reason: "a resource without a name" };
      if (names.has(name)) {
        return { kind: "broken", reason: `resource ${name} twice in a response` };
      }
      names.add(name);
    }
    const isWhole = wholeTypes.has(this.typeUrl);
    const removed = isWhole ? [...this.#answered.difference(names)] : [];
    const wanted = resources.filter(({ name }) => this.#wants(name));
    const fresh = wanted.filter((resource) => this.#isNew(resource));
    const held = new Map(this.#held);
    for (const name of [...removed, ...fresh.map((one) => one.name)]) held.delete(name);
    this.#held = held;
    const answered = new Set(wanted.map(({ name }) => name));
    this.#answered = isWhole ? answered : this.#answered.union(answered);
    const changed = new Set(fresh.map(({ name }) => name));
    const unchanged = [...answered].filter((name) => !changed.has(name));
    return { kind: "usable", resources: fresh, removed, unchanged };
  }

  accepted(
    { version }: AnsweredResponse,
    { resources, removed }: Extract<Received, { kind: "usable" }>,
  ): void {
    const held = new Map(this.#held);
    for (const { name, bytes, version: first } of resources) {
      if (this.#wants(name)) held.set(name, { version: first, bytes });
    }
    for (const name of removed) held.delete(name);
    this.#held = held;
    this.#version = version;
  }

  unanswered(): readonly string[] {
    return this.#wish === "*" ? [] : [...this.#wish].filter((name) => !this.#answered.has(name));
  }

  #wants(name: string): boolean {
    return this.#wish === "*" || this.#wish.has(name);
  }

  #isNew({ name, bytes }: DeltaResource): boolean {
    const held = this.#held.get(name);
    return held === undefined || Buffer.compare(held.bytes, bytes) !== 0;
  }
}

function isSame(before: Wish, after: Wish): boolean {
  if (before === "*" || after === "*") return before === after;
  return before.symmetricDifference(after).size === 0;
}

function decode(message: Uint8Array): ClientResponse | undefined {
  try {
    const response = DiscoveryResponse.decode(message);
    const { typeUrl, nonce, versionInfo: version } = response;
    const resources = response.resources.map((any) => readResource(any, version));
    const isMistyped = resources.some((resource) => resource.typeUrl !== typeUrl);
    return {
      typeUrl,
      nonce,
      version,
      resources,
      removed: [],
      broken: isMistyped ? "a resource is of another type" : undefined,
    };
  } catch {
    return undefined; // malformed protobuf: the caller ends the stream
  }
}

function readResource(any: Any, version: string): DeltaResource & { readonly typeUrl: string } {
  if (any.typeUrl === wrapperUrl) {
    const { name, resource } = Resource.decode(any.value);
    return {
      name,
      version,
      typeUrl: resource?.typeUrl ?? "",
      bytes: resource?.value ?? new Uint8Array(),
    };
  }
  const name = namedTypes.has(any.typeUrl) ? firstField(any.value) : "";
  return { name, version, typeUrl: any.typeUrl, bytes: any.value };
}

/** The text of field 1, wherever it stands in the message. */
function firstField(bytes: Uint8Array): string {
  const reader = new BinaryReader(bytes);
  let text = "";
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) text = reader.string();
    else reader.skip(wireType, field);
  }
  return text;
}
