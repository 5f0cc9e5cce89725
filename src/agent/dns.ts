/**
 * The name server beside a proxy (:15053, UDP and TCP): answers for the mesh from the name table and
 * asks the outside for everything else. Caches nothing: the table is in memory, and the outside has
 * caches of its own.
 */
import { isAllocatedAddress } from "../base/allocated-addresses.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { Channel } from "../net/channel.ts";
import type { Dialler } from "../net/dialler.ts";
import { DnsExchange } from "../net/dns-exchange.ts";
import { type BoundListener, listen } from "../net/listen.ts";
import { type BoundDatagrams, listenDatagrams } from "../net/listen-datagrams.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Counter, MetricRegistry } from "../telemetry/metrics.ts";
import {
  decodeDnsQuery,
  type DnsAnswer,
  type DnsQuery,
  encodeDnsResponse,
  encodeFormatError,
  frameDns,
  recordTypes,
  responseCodes,
  unframeDns,
} from "../wire/dns.ts";
import { lookUpName, type MeshAddresses, type NameScope } from "./dns/name-table.ts";

export interface DnsServerOptions {
  /** Usually 127.0.0.1 and ::1; an address the machine does not have is skipped with a warning. */
  readonly addresses: readonly string[];
  /** Where the proxy itself asks: there, hosts whose address leads to the proxy are the outside's. */
  readonly proxyAddress?: string;
  readonly port: number;
  readonly scope: NameScope;
  /** Name server for the rest of the world, asked over TCP; without it foreign names are refused. */
  readonly upstream: SocketAddress | undefined;
  readonly dialler: Dialler;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
}

export interface DnsServer {
  /** Replaces all names of the mesh. */
  update(table: ReadonlyMap<string, MeshAddresses>): void;
  readonly udp: readonly SocketAddress[];
  readonly tcp: readonly SocketAddress[];
  close(): Promise<void>;
}

const ttlSeconds = 30;
const tcpConnectionsMax = 256;
const tcpIdleMs = 10_000;
const tcpMessageBytesMax = 65_535;
/** Questions of one TCP connection that wait for the outside. */
const tcpWaitingMax = 32;
/** Answers of one TCP connection that its asker has not read. */
const tcpQueuedBytesMax = 256 * 1024;
const forwardTimeoutMs = 5_000;

/** Rejects when none of the addresses can be listened on. */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const server = new RunningDns(options);
  await server.open();
  return server;
}

class RunningDns implements DnsServer {
  readonly #options: DnsServerOptions;
  readonly #forwarder: DnsExchange | undefined;
  readonly #datagrams: BoundDatagrams[] = [];
  readonly #listeners: BoundListener[] = [];
  readonly #channels = new Set<Channel>();
  readonly #answered: Counter;
  readonly #forwarded: Counter;
  readonly #malformed: Counter;
  readonly #overflows: Counter;
  #table: ReadonlyMap<string, MeshAddresses> = new Map();
  #rotation = 0;

  constructor(options: DnsServerOptions) {
    const { metrics, upstream, dialler, clock } = options;
    this.#options = options;
    this.#answered = metrics.counter(
      "heddle_dns_answered_total",
      "Questions answered for the mesh",
    );
    this.#forwarded = metrics.counter("heddle_dns_forwarded_total", "Questions asked outside");
    this.#malformed = metrics.counter(
      "heddle_dns_malformed_total",
      "Messages that were no question",
    );
    const failures = metrics.counter("heddle_dns_failed_total", "Questions the outside left open");
    this.#overflows = metrics.counter(
      "heddle_dns_overflow_total",
      "Questions beyond the limit, and connections whose askers have too many or read no answers",
    );
    if (upstream !== undefined) {
      this.#forwarder = new DnsExchange({
        upstream,
        dialler,
        clock,
        timeoutMs: forwardTimeoutMs,
        onFailure: () => failures.add(),
        onOverflow: () => this.#overflows.add(),
      });
    }
  }

  get udp(): readonly SocketAddress[] {
    return this.#datagrams.map(({ address }) => address);
  }

  get tcp(): readonly SocketAddress[] {
    return this.#listeners.map(({ address }) => address);
  }

  async open(): Promise<void> {
    const { addresses, proxyAddress, port, log } = this.#options;
    let refusal: unknown;
    for (const address of [...addresses, ...(proxyAddress === undefined ? [] : [proxyAddress])]) {
      const isProxy = address === proxyAddress;
      try {
        this.#datagrams.push(
          await listenDatagrams({
            address,
            port,
            onDatagram: (bytes, reply) => this.#onMessage(bytes, { reply, isUdp: true, isProxy }),
            onError: (reason) => log.debug("answering a DNS question failed", { reason }),
          }),
        );
        this.#listeners.push(
          await listen({
            on: { kind: "address", address, port },
            connectionsMax: tcpConnectionsMax,
            readsOriginalDestination: false,
            log,
            onChannel: (channel) => this.#onChannel(channel, isProxy),
          }),
        );
      } catch (thrown) {
        refusal = thrown;
        const where = formatSocketAddress({ address, port });
        log.warn("no DNS on an address", { address: where, reason: messageOf(thrown) });
      }
    }
    if (this.#listeners.length === 0 && refusal !== undefined) {
      await this.close();
      throw refusal;
    }
  }

  update(table: ReadonlyMap<string, MeshAddresses>): void {
    this.#table = table;
  }

  async close(): Promise<void> {
    for (const channel of this.#channels) channel.destroy();
    await Promise.all([...this.#datagrams, ...this.#listeners].map((one) => one.close()));
  }

  #onChannel(channel: Channel, isProxy: boolean): void {
    const { clock } = this.#options;
    this.#channels.add(channel);
    let received: Buffer = Buffer.alloc(0);
    let waiting = 0;
    let idle = clock.schedule(tcpIdleMs, () => channel.destroy());
    const giveUp = (): void => {
      this.#overflows.add();
      channel.destroy();
    };
    const reply = (answer: Uint8Array): void => {
      waiting -= 1;
      if (channel.isClosed) return;
      if (channel.queuedBytes <= tcpQueuedBytesMax) channel.write(frameDns(answer));
      else giveUp();
    };
    channel.handler = {
      onData: (chunk) => {
        idle.cancel();
        idle = clock.schedule(tcpIdleMs, () => channel.destroy());
        const { messages, rest } = unframeDns(Buffer.concat([received, chunk]));
        received = rest;
        for (const message of messages) {
          if (channel.isClosed) return;
          waiting += 1;
          if (waiting > tcpWaitingMax) return giveUp();
          this.#onMessage(message, { reply, isUdp: false, isProxy });
        }
      },
      onEnd: () => channel.end(),
      onDrain: () => {},
      onClose: () => {
        idle.cancel();
        this.#channels.delete(channel);
      },
    };
  }

  #onMessage(bytes: Buffer, asker: Asker): void {
    const { reply, isUdp, isProxy } = asker;
    const query = decodeDnsQuery(bytes);
    if (query === undefined) {
      this.#malformed.add();
      const refusal = encodeFormatError(bytes);
      if (refusal !== undefined) reply(refusal);
      return;
    }
    const bytesMax = isUdp ? query.udpBytesMax : tcpMessageBytesMax;
    const send = (code: number, answers: readonly DnsAnswer[]): void => {
      this.#answered.add();
      reply(
        encodeDnsResponse({ query, code, answers, isAuthoritative: true, ttlSeconds, bytesMax }),
      );
    };
    if (query.opcode !== 0) {
      send(responseCodes.notImplemented, []);
      return;
    }
    const found = lookUpName(this.#table, query.question.name, this.#options.scope);
    const isKnown = found.kind === "known" && !(isProxy && leadsHere(found.addresses));
    if (isKnown) send(responseCodes.noError, this.#answersOf(query, found.addresses));
    else if (found.kind === "missing") send(responseCodes.nameError, []);
    else this.#forward(query, bytes, asker);
  }

  #answersOf({ question }: DnsQuery, addresses: MeshAddresses): readonly DnsAnswer[] {
    const { name, type } = question;
    this.#rotation = (this.#rotation + 1) >>> 0;
    const wants = (wanted: number): boolean => type === wanted || type === recordTypes.any;
    const ipv4 = wants(recordTypes.a) ? rotate(addresses.ipv4, this.#rotation) : [];
    const ipv6 = wants(recordTypes.aaaa) ? rotate(addresses.ipv6, this.#rotation) : [];
    return [
      ...ipv4.map((address) => ({ type: "a", name, address }) as const),
      ...ipv6.map((address) => ({ type: "aaaa", name, address }) as const),
    ];
  }

  #forward(query: DnsQuery, bytes: Buffer, { reply, isUdp }: Asker): void {
    const fail = (code: number): void => {
      const bytesMax = query.udpBytesMax;
      const answers: readonly DnsAnswer[] = [];
      const failed = { query, code, answers, isAuthoritative: false, ttlSeconds, bytesMax };
      reply(encodeDnsResponse(failed));
    };
    if (this.#forwarder === undefined) {
      fail(responseCodes.refused);
      return;
    }
    this.#forwarded.add();
    this.#forwarder.ask(query, bytes, (answer) => {
      if (answer === undefined) fail(responseCodes.serverFailure);
      else if (isUdp && answer.length > query.udpBytesMax) reply(truncated(query));
      else reply(answer);
    });
  }
}

interface Asker {
  readonly reply: (answer: Uint8Array) => void;
  readonly isUdp: boolean;
  readonly isProxy: boolean;
}

/** Calling it, the proxy would call itself: where the host really is, the outside knows. */
function leadsHere({ ipv4, ipv6 }: MeshAddresses): boolean {
  return [...ipv4, ...ipv6].some(isAllocatedAddress);
}

/** Too long for a datagram: the asker shall come again over TCP. */
function truncated(query: DnsQuery): Buffer {
  const message = encodeDnsResponse({
    query,
    code: responseCodes.noError,
    answers: [],
    isAuthoritative: false,
    ttlSeconds,
    bytesMax: query.udpBytesMax,
  });
  message.writeUInt16BE(message.readUInt16BE(2) | 0x0200, 2);
  return message;
}

function rotate<T>(items: readonly T[], by: number): readonly T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
