/**
 * Connections inside the data plane: from a cluster whose endpoint is a listener of the same proxy, by
 * name, to that listener. No socket: two queues of bytes (`net/internal-channel.ts`), and what the one
 * side wants the other to know of the connection that it serves.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { TurnEnd } from "../base/turn-end.ts";
import type { Channel, ChannelError, ChannelHandler } from "../net/channel.ts";
import type { Dialler } from "../net/dialler.ts";
import { type InternalChannel, makeInternalPair } from "../net/internal-channel.ts";
import { PendingChannel } from "../net/pending-channel.ts";
import type { RacingDialler, RacingDialOptions } from "../net/racing-dialler.ts";
import { secureChannel } from "../net/secure-channel.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { DynamicMetadata } from "../telemetry/request-record.ts";
import { addressOfAuthority } from "./cluster/forward.ts";
import type { FilterState } from "./engine/filter-state.ts";
import { parseIp } from "./engine/ip.ts";

/** What a connection inside the proxy tells of the one that it is made for. */
export interface PassedOn {
  readonly metadata: DynamicMetadata | undefined;
  readonly state: FilterState | undefined;
}

/** An endpoint that is a listener. */
export interface InternalTarget extends PassedOn {
  readonly listener: string;
  /** It is told, too, what filters have set to be shared. */
  readonly passesState: boolean;
}

export interface ProxyDialOptions extends RacingDialOptions {
  /** Instead of `address`, which stands in logs. */
  readonly internal?: InternalTarget;
}

export interface ProxyDialler extends Dialler {
  dial(options: ProxyDialOptions): Channel;
}

/** A listener that takes connections from inside. */
export interface InternalDoor {
  /** Its connections go where they say that they were meant to. */
  readonly restoresDestination: boolean;
  readonly queueBytesMax: number;
  accept(channel: InternalChannel, passed: PassedOn): void;
  onClosed(channel: InternalChannel): void;
}

/** Which listener has a name now; undefined where none has, or where it takes no more. */
export type FindDoor = (name: string) => InternalDoor | undefined;

/** As Envoy writes it. */
export function internalAddress(listener: string, endpointId: string): SocketAddress {
  return { address: `envoy://${listener}/${endpointId}`, port: 0 };
}

const clientAddress: SocketAddress = { address: "envoy://internal_client_address/", port: 0 };

/** Under which Istio, and Envoy's filter for it, keep where a connection goes. */
export const destinationNamespace = "envoy.filters.listener.original_dst";
export const localKey = "envoy.filters.listener.original_dst.local_ip";
export const remoteKey = "envoy.filters.listener.original_dst.remote_ip";

export interface InternalDiallerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly turnEnd: TurnEnd;
  /** May wait in a connection, in each direction, whatever its listener and cluster allow. */
  readonly bufferBytesMax?: number | undefined;
}

export class InternalDialler implements ProxyDialler {
  find: FindDoor = () => undefined;
  readonly #other: RacingDialler;
  readonly #options: InternalDiallerOptions;

  /** `other` opens what is not inside. */
  constructor(other: RacingDialler, options: InternalDiallerOptions) {
    this.#other = other;
    this.#options = options;
  }

  dial(options: ProxyDialOptions): Channel {
    const { internal } = options;
    if (internal === undefined) return this.#other.dial(options);
    const dialling = new Dialling(options, this.#options);
    dialling.start(internal, this.find(internal.listener));
    return dialling.channel;
  }
}

/** A connection from before the other end exists, or is secure. */
class Dialling {
  readonly channel: PendingChannel;
  readonly #dial: ProxyDialOptions;
  readonly #options: InternalDiallerOptions;
  /** Below TLS. */
  #raw: InternalChannel | undefined;
  #handshake: { abort(hasTimedOut: boolean): void } | undefined;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(dial: ProxyDialOptions, options: InternalDiallerOptions) {
    this.#dial = dial;
    this.#options = options;
    this.channel = new PendingChannel({
      handler: dial.handler,
      remote: dial.address,
      local: clientAddress,
      onAbandoned: () => this.#fail(undefined),
      log: options.log,
    });
  }

  start(target: InternalTarget, door: InternalDoor | undefined): void {
    const { turnEnd, clock, log, bufferBytesMax = Number.POSITIVE_INFINITY } = this.#options;
    const { writeQueueBytesMax = 65_536, timeoutMs } = this.#dial;
    if (door === undefined) {
      const message = `no listener inside the proxy is called ${target.listener}`;
      return this.#fail({ code: "ECONNREFUSED", message });
    }
    const ends = endsOf(target, door);
    const { client, server } = makeInternalPair({
      turnEnd,
      // Nobody has the channel yet: what the listener says waits, and its refusal is told once.
      client: { ...silent, onClose: (error) => this.#fail(error) },
      addresses: {
        client: ends.source,
        server: this.#dial.address,
        destination: ends.destination,
      },
      queueBytesMax: Math.min(door.queueBytesMax, writeQueueBytesMax, bufferBytesMax),
      onFault: (thrown) =>
        log.error("a handler of a connection inside the proxy failed", {
          listener: target.listener,
          reason: thrown instanceof Error ? thrown.stack : String(thrown),
        }),
      onClosed: (channel) => {
        if (channel === server) door.onClosed(server);
      },
    });
    this.#raw = client;
    client.pause();
    door.accept(server, { metadata: target.metadata, state: target.state });
    if (this.#dial.tls !== undefined && timeoutMs > 0) {
      this.#timer = clock.schedule(timeoutMs, () => this.#onTimeout());
    }
    // Whoever dialled does not have its channel yet.
    turnEnd.defer({ runDeferred: () => this.#onAccepted(client) });
  }

  #onAccepted(client: InternalChannel): void {
    const { tls, alpn, preface } = this.#dial;
    if (this.#isOver) return;
    if (client.isClosed) return;
    client.resume();
    this.#dial.onTcpConnect?.();
    if (preface !== undefined) client.write(preface(client.local));
    if (tls === undefined) return this.#open(client);
    this.#handshake = secureChannel({
      channel: client,
      local: client.local,
      tls,
      alpn,
      nowMs: this.#options.clock.nowMs(),
      log: this.#options.log,
      handler: this.channel.handler,
      onSecure: (channel) => this.#open(channel),
      onFailure: (error) => this.#fail(error),
    });
  }

  #open(channel: Channel): void {
    this.#timer?.cancel();
    if (!this.channel.become(channel)) return;
    this.#isOver = true;
    this.#dial.onConnect(channel);
  }

  #onTimeout(): void {
    const { timeoutMs, address } = this.#dial;
    const message = `connecting to ${address.address} took over ${timeoutMs} ms`;
    this.#handshake?.abort(true);
    this.#fail({ code: "ETIMEDOUT", message });
  }

  /** Ends what has not become a connection. */
  #fail(error: ChannelError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer?.cancel();
    this.#handshake?.abort(false);
    const raw = this.#raw;
    if (raw !== undefined) {
      raw.handler = silent;
      raw.destroy("reset");
    }
    this.channel.fail(error);
  }
}

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

/**
 * Between whom the listener sees the connection: as it is told, by metadata of the endpoint first, where
 * the listener restores that (`original_dst`); else nothing but its own name.
 */
function endsOf(
  { listener, metadata, state }: InternalTarget,
  { restoresDestination }: InternalDoor,
): { readonly source: SocketAddress; readonly destination: SocketAddress } {
  const own = internalAddress(listener, "");
  if (!restoresDestination) return { source: clientAddress, destination: own };
  const named = metadata?.get(destinationNamespace)?.["local"];
  const told = typeof named === "string" ? named : state?.get(localKey)?.text;
  return {
    destination: addressIn(told) ?? own,
    source: addressIn(state?.get(remoteKey)?.text) ?? clientAddress,
  };
}

/** Undefined for what is no IP address with a port. */
function addressIn(text: string | undefined): SocketAddress | undefined {
  const address = text === undefined ? undefined : addressOfAuthority(text, 0);
  return address === undefined || parseIp(address.address) === undefined ? undefined : address;
}
