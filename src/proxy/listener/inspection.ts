/** What the first bytes of a connection say, as the listener's filters look at them. Sans I/O. */
import type { SocketAddress } from "../../base/socket-address.ts";
import { inspectHttp } from "../../wire/http-inspect.ts";
import { decodeProxyHeader, type ProxyAddresses } from "../../wire/proxy-protocol.ts";
import { inspectTlsHello, type TlsHello } from "../../wire/tls-hello.ts";
import type { CompiledListener } from "./compiled-listener.ts";

export interface Inspected {
  /** What follows the PROXY header. */
  readonly first: Buffer;
  readonly proxied: ProxyAddresses | undefined;
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
  readonly #listener: CompiledListener;
  #destinationPort: number;
  #bytes: Buffer = Buffer.alloc(0);
  #proxied: ProxyAddresses | undefined;
  #needsHeader: boolean;

  constructor(listener: CompiledListener, destination: SocketAddress) {
    this.#listener = listener;
    this.#destinationPort = destination.port;
    this.#needsHeader = listener.proxyProtocol !== undefined;
  }

  /** Whether any filter wants to see bytes. */
  get isNeeded(): boolean {
    return this.#needsHeader || this.#wantsTls || this.#wantsHttp;
  }

  receive(chunk: Buffer): InspectionStep {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (this.#needsHeader) {
      const refusalOrWait = this.#readHeader();
      if (refusalOrWait !== undefined) return refusalOrWait;
    }
    return this.#inspect();
  }

  /** The time is up, or the peer will send no more: what is known so far, as another protocol. */
  settle(): InspectionStep {
    if (this.#needsHeader && this.#listener.proxyProtocol?.isRequired === true) {
      return { kind: "refused", reason: "no PROXY header came" };
    }
    return this.#done(undefined, false, []);
  }

  get #wantsTls(): boolean {
    return this.#listener.tlsInspector?.(this.#destinationPort) === false;
  }

  get #wantsHttp(): boolean {
    return this.#listener.httpInspector?.(this.#destinationPort) === false;
  }

  #readHeader(): InspectionStep | undefined {
    const header = decodeProxyHeader(this.#bytes);
    if (header.kind === "incomplete") return { kind: "more", of: "proxy-header" };
    if (header.kind === "malformed") return { kind: "refused", reason: header.reason };
    if (header.kind === "absent") {
      if (this.#listener.proxyProtocol?.isRequired === true) {
        return { kind: "refused", reason: "no PROXY header came" };
      }
    } else {
      this.#bytes = this.#bytes.subarray(header.bytes);
      this.#proxied = header.addresses;
      this.#destinationPort = header.addresses?.destination.port ?? this.#destinationPort;
    }
    this.#needsHeader = false;
    return undefined;
  }

  #inspect(): InspectionStep {
    const wants = { tls: this.#wantsTls, http: this.#wantsHttp };
    if (this.#bytes.length === 0 && (wants.tls || wants.http)) {
      return { kind: "more", of: "anything" };
    }
    if (wants.tls) {
      const found = inspectTlsHello(this.#bytes);
      if (found.kind === "incomplete") return { kind: "more", of: "hello" };
      if (found.kind === "hello") return this.#done(found.hello, true, found.hello.alpn);
    }
    if (wants.http) {
      const found = inspectHttp(this.#bytes);
      if (found.kind === "incomplete") return { kind: "more", of: "request" };
      if (found.kind === "http") return this.#done(undefined, false, [found.protocol]);
    }
    return this.#done(undefined, false, []);
  }

  #done(
    hello: TlsHello | undefined,
    isTls: boolean,
    applicationProtocols: readonly string[],
  ): InspectionStep {
    const first = this.#bytes;
    return {
      kind: "done",
      inspected: { first, proxied: this.#proxied, hello, isTls, applicationProtocols },
    };
  }
}
