/**
 * A request as policies and routes see it. The proxy's HTTP layer implements it over offsets into
 * the received bytes; tests and explanations implement it over plain values.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type {
  DynamicMetadata,
  FilterChainFacts,
  RequestRecord,
} from "../../telemetry/request-record.ts";
import type { CertificateNames } from "../../wire/certificate-names.ts";
import type { ClientEnds } from "./client-ends.ts";
import type { FilterState } from "./filter-state.ts";

export interface RequestView {
  readonly method: string;
  /** Path with query, as it will be matched: already normalised. */
  readonly path: string;
  readonly authority: string;
  readonly scheme: string;
  /** All values of a header, joined with `,`; `name` is in lower case. `:method`, `:path`, `:authority`, `:scheme` too. */
  header(name: string): string | undefined;
  /** Its values line by line where it stands on several, which `header()` joins; undefined where it stands on one. */
  lines?(name: string): readonly string[] | undefined;
  readonly connection: ConnectionView;
  /** The client's address as far as trusted proxies vouch for it; absent = the connection's source. */
  readonly remoteAddress?: string;
  /** What filters have found out so far; absent = nothing. */
  readonly metadata?: DynamicMetadata | undefined;
  /** What filters have set for those behind them; the connection has more. */
  readonly state?: FilterState | undefined;
  /** What is reported of it, as far as it has come; absent outside of a proxy. */
  readonly record?: RequestRecord | undefined;
}

/** What is known about the downstream connection. Addresses are textual, IPv4-mapped ones unmapped. */
export interface ConnectionView {
  readonly sourceAddress: string;
  readonly sourcePort: number;
  /** The other end of the socket, where a PROXY header tells of another source. */
  readonly direct?: SocketAddress | undefined;
  /** Where the connection was meant to go. */
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** A filter or a PROXY header has said so; otherwise it is merely where the connection was accepted. */
  readonly isDestinationRestored?: boolean;
  readonly sni: string | undefined;
  readonly alpn: string | undefined;
  readonly isTls: boolean;
  /** What the peer has shown of itself; absent where it has no certificate. */
  readonly peerCertificate?: "presented" | "validated" | undefined;
  /** SPIFFE ids of the verified peer certificate; empty without mutual TLS. */
  readonly peerUriSans: readonly string[];
  /** Other names of that certificate; absent without one. */
  readonly peerNames?: Pick<CertificateNames, "subject" | "dnsSans"> | undefined;
  /** What network filters have found out, and set for those behind them; absent = nothing. */
  metadata?: DynamicMetadata | undefined;
  state?: FilterState | undefined;
  /** What upstreams are told of it, where its own PROXY header says, or somebody has asked. */
  ends?: ClientEnds | undefined;
  /** What configuration says of the place where it was taken in. */
  filterChain?: FilterChainFacts | undefined;
  listenerMetadata?: Readonly<Record<string, unknown>> | undefined;
}
