/**
 * What a client says before there is an endpoint to say it to. Nothing is read meanwhile but where
 * `max_early_data_bytes` says how much may be (Envoy's name for it, though it is none of TLS).
 */
import type { Channel } from "../../net/channel.ts";
import type { Counter } from "../../telemetry/metrics.ts";
import {
  type TcpProxy,
  UpstreamConnectMode,
} from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { refuse } from "../engine/refusal.ts";

export interface EarlyPlan {
  /** An endpoint is connected to when the client has said something, not at once. */
  readonly waitsForData: boolean;
  /** As soon as so much is here no more is read; undefined: nothing is read before there is a connection. */
  readonly bytesMax: number | undefined;
}

const bytesMaxMax = 1_048_576;

/** A connection is the filter's once its TLS stands, so that waiting for that is what is done at once. */
export function compileEarly({ upstreamConnectMode, maxEarlyDataBytes }: TcpProxy): EarlyPlan {
  const { IMMEDIATE, ON_DOWNSTREAM_DATA, UNRECOGNIZED } = UpstreamConnectMode;
  if (upstreamConnectMode === UNRECOGNIZED) refuse("upstream_connect_mode", "is not known");
  if (upstreamConnectMode !== IMMEDIATE && maxEarlyDataBytes === undefined) {
    refuse("max_early_data_bytes", "is required where upstream_connect_mode is not IMMEDIATE");
  }
  if ((maxEarlyDataBytes ?? 0) > bytesMaxMax) {
    refuse("max_early_data_bytes", `must be at most ${bytesMaxMax}`);
  }
  return {
    waitsForData: upstreamConnectMode === ON_DOWNSTREAM_DATA,
    bytesMax: maxEarlyDataBytes,
  };
}

/** Of one connection. */
export class EarlyData {
  readonly #plan: EarlyPlan;
  readonly #channel: Channel;
  readonly #received: Counter;
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** `received` counts how often something came early, where that may be. */
  constructor(plan: EarlyPlan, channel: Channel, received: Counter) {
    this.#plan = plan;
    this.#channel = channel;
    this.#received = received;
    if (plan.bytesMax === undefined) channel.pause();
  }

  /** Nobody is connected to before something comes. */
  get isAwaited(): boolean {
    return this.#plan.waitsForData && this.#bytes === 0;
  }

  /** The chunk is this one's from now on. */
  add(chunk: Buffer): void {
    const { bytesMax } = this.#plan;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (bytesMax === undefined) return;
    this.#received.add();
    if (this.#bytes >= bytesMax) this.#channel.pause();
  }

  /** Sends all of it; from now on the client is read as fast as `to` takes. */
  sendTo(to: Channel): void {
    let hasRoom = true;
    for (const chunk of this.#chunks) hasRoom = to.write(chunk);
    this.#chunks = [];
    if (hasRoom) this.#channel.resume();
    else this.#channel.pause();
  }
}
