/** What the first bytes of a connection say, as the listener's filters look at them. Sans I/O. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel } from "../../net/channel.ts";
import { inspectHttp } from "../../wire/http-inspect.ts";
import { inspectTlsHello, type TlsHello } from "../../wire/tls-hello.ts";
import { type ClientHeader, type ClientHeaderPlan, readClientHeader } from "./client-header.ts";
import type { ListenerStep } from "./listener-filters.ts";

export interface Inspected {
  /** What follows the PROXY header. */
  readonly first: Buffer;
  readonly client: ClientHeader | undefined;
  readonly hello: TlsHello | undefined;
  readonly isTls: boolean;
  readonly applicationProtocols: readonly string[];
}

export type InspectionStep =
  | {
      readonly kind: "more";
      /** What has begun and is not whole; the client of `anything` has said nothing yet. */
      readonly of: "anything" | "proxy-header" | "hello" | "request";
    }
  | { readonly kind: "done"; readonly inspected: Inspected }
  | { readonly kind: "refused"; readonly reason: string };

export class Inspection {
  /** What the filters so far say that the connection goes to. */
  destination: SocketAddress;
  /** Somebody has said so: it is not merely where the connection was accepted. */
  isRestored: boolean;
  readonly #original: SocketAddress;
  readonly #steps: readonly ListenerStep[];
  #at = 0;
  #bytes: Buffer = Buffer.alloc(0);
  #client: ClientHeader | undefined;
  #hello: TlsHello | undefined;
  #applicationProtocols: readonly string[] = [];

  /** `isRestored`: the destination before redirection is the connection's own already. */
  constructor(
    steps: readonly ListenerStep[],
    channel: Pick<Channel, "local" | "originalDestination">,
    isRestored: boolean,
  ) {
    this.#steps = steps;
    this.#original = channel.originalDestination;
    this.destination = isRestored ? channel.originalDestination : channel.local;
    this.isRestored = isRestored;
    this.#advance();
  }

  /** Whether any filter wants to see bytes. */
  get isNeeded(): boolean {
    return this.#at < this.#steps.length;
  }

  receive(chunk: Buffer): InspectionStep {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const step = this.#steps[this.#at];
      if (step === undefined) return this.#done();
      const refusalOrWait = this.#take(step);
      if (refusalOrWait !== undefined) return refusalOrWait;
      this.#at++;
      this.#advance();
    }
  }

  /** No bytes will be looked at any more: what is known so far, as another protocol. */
  settle(): InspectionStep {
    for (; this.#at < this.#steps.length; this.#at++, this.#advance()) {
      const { header } = this.#steps[this.#at] ?? {};
      if (header === undefined) continue;
      header.counters.absent(header.isRequired);
      if (header.isRequired) {
        return { kind: "refused", reason: "no PROXY header came" };
      }
    }
    return this.#done();
  }

  /** To the next filter that is on and wants bytes; the others do their work on the way. */
  #advance(): void {
    for (; this.#at < this.#steps.length; this.#at++) {
      const step = this.#steps[this.#at];
      if (step === undefined || step.isOff(this.destination.port)) continue;
      if (step.kind !== "original-destination") return;
      this.destination = this.#original;
      this.isRestored = true;
    }
  }

  #take(step: ListenerStep): InspectionStep | undefined {
    if (step.header !== undefined) return this.#readHeader(step.header);
    // Nobody looks for a request in what has turned out to be TLS.
    if (step.kind === "http" && this.#hello !== undefined) return undefined;
    if (this.#bytes.length === 0) return { kind: "more", of: "anything" };
    if (step.kind === "tls") {
      const found = inspectTlsHello(this.#bytes);
      if (found.kind === "incomplete") return { kind: "more", of: "hello" };
      if (found.kind !== "hello") return undefined;
      this.#hello = found.hello;
      this.#applicationProtocols = found.hello.alpn;
      return undefined;
    }
    const found = inspectHttp(this.#bytes);
    if (found.kind === "incomplete") return { kind: "more", of: "request" };
    if (found.kind === "http") this.#applicationProtocols = [found.protocol];
    return undefined;
  }

  #readHeader(plan: ClientHeaderPlan): InspectionStep | undefined {
    const found = readClientHeader(plan, this.#bytes);
    if (found.kind === "incomplete") return { kind: "more", of: "proxy-header" };
    if (found.kind === "refused") return found;
    if (found.kind === "absent") return undefined;
    this.#bytes = this.#bytes.subarray(found.bytes);
    this.#client = found.client;
    const told = found.client.addresses?.destination;
    if (told === undefined) return undefined;
    this.destination = told;
    this.isRestored = true;
    return undefined;
  }

  #done(): InspectionStep {
    const hello = this.#hello;
    return {
      kind: "done",
      inspected: {
        first: this.#bytes,
        client: this.#client,
        hello,
        isTls: hello !== undefined,
        applicationProtocols: this.#applicationProtocols,
      },
    };
  }
}
