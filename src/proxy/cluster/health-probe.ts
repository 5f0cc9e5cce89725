/**
 * Asks one endpoint whether it is well, over a connection of its own: outside of pools and limits,
 * without a record. Who asks decides when, and what the outcome means.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel, ChannelHandler } from "../../net/channel.ts";
import type { ClientTls, DialOptions } from "../../net/dialler.ts";
import type { InternalTarget, ProxyDialler } from "../internal.ts";
import { prefaceOf, type ProxyHeaderPlan } from "./proxy-header.ts";
import { type CheckPlan, holdsInOrder, type TcpProbePlan } from "./health-plan.ts";

export interface ProbeTarget {
  readonly address: SocketAddress;
  /** Of the endpoint's own check; empty: it names none. */
  readonly hostname: string;
  readonly tls: ClientTls | undefined;
  readonly sourceAddress: string | undefined;
  /** It is a listener of this proxy. */
  readonly internal?: InternalTarget | undefined;
  /** Connections begin with this PROXY header. */
  readonly header?: ProxyHeaderPlan | undefined;
}

/** Told once for each `ask()`, unless it is ended before. */
export interface ProbeOwner {
  onPass(isDegraded: boolean): void;
  /** `status`: of the answer over HTTP that failed. */
  onFail(kind: "network" | "active", isRetriable: boolean, status?: number): void;
  /** The answer asks not to count the endpoint any more; before `onFail`. */
  onExcluded(): void;
  /** The answer says which cluster it comes from, and that is looked at. */
  onServiceChecked(): void;
}

export interface Probe {
  /** Opens a connection where none is open. */
  ask(): void;
  /** No answer has come in time. */
  giveUp(): void;
  /** No answer is waited for any more, and the connection closes. */
  close(): void;
}

/** What the kernel is asked of the sockets of checks. */
export type SocketSettings = Pick<DialOptions, "keepAlive" | "socketOptions">;

export interface ProbeParts {
  readonly dialler: ProxyDialler;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly plan: CheckPlan;
  readonly socket: SocketSettings;
  readonly target: ProbeTarget;
  readonly owner: ProbeOwner;
}

/** The check's own time is what bounds it. */
export function dialProbe(
  { dialler, plan, socket, target }: ProbeParts,
  handler: ChannelHandler,
  onConnect: (channel: Channel) => void,
): Channel {
  const { address, tls, sourceAddress, internal, header } = target;
  const preface = header && prefaceOf(header, [], address, undefined);
  return dialler.dial({
    address,
    tls,
    timeoutMs: 0,
    handler,
    onConnect,
    ...(plan.alpn === undefined || tls === undefined ? {} : { alpn: plan.alpn }),
    ...(sourceAddress === undefined ? {} : { sourceAddress }),
    ...(internal === undefined ? {} : { internal }),
    ...(preface === undefined ? {} : { preface }),
    ...socket,
  });
}

/** What an endpoint may say without saying what is waited for. */
const receivedBytesMax = 1024 * 1024;

/** Asks over one connection after another. */
export class ConnectionProbe implements Probe {
  readonly #open: (onOver: () => void) => Probe;
  #connection: Probe | undefined;

  /** `open` begins a connection that says when it is over. */
  constructor(open: (onOver: () => void) => Probe) {
    this.#open = open;
  }

  ask(): void {
    this.#connection ??= this.#open(() => {
      this.#connection = undefined;
    });
    this.#connection.ask();
  }

  giveUp(): void {
    this.#connection?.giveUp();
  }

  close(): void {
    this.#connection?.close();
  }
}

export class TcpProbeConnection implements Probe, ChannelHandler {
  readonly #parts: ProbeParts;
  readonly #plan: TcpProbePlan;
  readonly #onOver: () => void;
  #channel: Channel | undefined;
  #isConnected = false;
  #isAsked = false;
  #isOver = false;
  #received = Buffer.alloc(0);

  constructor(parts: ProbeParts, plan: TcpProbePlan, onOver: () => void) {
    this.#parts = parts;
    this.#plan = plan;
    this.#onOver = onOver;
  }

  ask(): void {
    this.#isAsked = true;
    if (this.#isConnected) return this.#send();
    this.#channel ??= dialProbe(this.#parts, this, () => {
      this.#isConnected = true;
      if (this.#plan.receive.length > 0) return this.#send();
      this.close();
      this.#parts.owner.onPass(false);
    });
  }

  #send(): void {
    const { send } = this.#plan;
    if (send !== undefined) this.#channel?.write(send);
  }

  onData(chunk: Buffer): void {
    if (this.#isOver || this.#received.length + chunk.length > receivedBytesMax) return;
    this.#received = Buffer.concat([this.#received, chunk]);
    if (!holdsInOrder(this.#received, this.#plan.receive)) return;
    this.#received = Buffer.alloc(0);
    if (!this.#isAsked) return;
    this.#isAsked = false;
    if (!this.#parts.plan.reusesConnections) this.close();
    this.#parts.owner.onPass(false);
  }

  onEnd(): void {
    this.#channel?.destroy();
  }

  onDrain(): void {}

  /** One that closes between two checks has failed one, too. */
  onClose(): void {
    if (this.#isOver) return;
    this.#end();
    this.#parts.owner.onFail("network", false);
  }

  giveUp(): void {
    this.close();
  }

  close(): void {
    if (this.#isOver) return;
    this.#end();
    this.#channel?.destroy();
  }

  #end(): void {
    this.#isOver = true;
    this.#onOver();
  }
}
