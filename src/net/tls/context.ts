/** A TLS configuration with the OpenSSL context that its secrets currently give. */
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { CommonTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { ChannelError } from "../channel.ts";
import type { SecretSource } from "../secret-source.ts";
import type { TlsFailureKind } from "./failure.ts";
import type { ServerResumption } from "./resumption.ts";
import {
  buildMaterials,
  planTls,
  type TlsMaterial,
  type TlsMaterials,
  type TlsPlan,
  type TlsSidePlan,
} from "./material.ts";

/** Envoy's `ssl.*` counters of one listener or cluster. */
export interface TlsCounters {
  onHandshake(isResumed: boolean): void;
  onFailure(kind: TlsFailureKind): void;
}

export interface ServerSide {
  readonly context: TlsContext;
  readonly requiresCertificate: boolean;
  /** Undefined: every handshake is a full one. */
  readonly resumption: ServerResumption | undefined;
  /** Connections keep what the client sent behind its certificate. */
  readonly keepsPeerChain: boolean;
}

export interface ClientSide {
  readonly context: TlsContext;
  readonly sni: string | undefined;
  /** Sessions to keep for each endpoint. */
  readonly sessionsMax: number;
  /** The server is asked for by its endpoint's name, where it has one. */
  readonly usesHostname: boolean;
  /** A server must have the name that it was asked for by; what the context says of names is void. */
  readonly expectsSni: boolean;
  /** A name that the server must have beside all others; undefined: any. */
  readonly expectedName: string | undefined;
}

/** What stands behind the opaque handles that other areas pass around. */
export const serverContexts: WeakMap<object, ServerSide> = new WeakMap();
export const clientContexts: WeakMap<object, ClientSide> = new WeakMap();

interface Dependencies {
  readonly secrets: SecretSource;
  readonly log: Logger;
  readonly counters: TlsCounters;
  readonly onFailure?: (error: ChannelError) => void;
}

export class TlsContext {
  readonly plan: TlsPlan;
  readonly counters: TlsCounters;
  readonly #dependencies: Dependencies;
  readonly #stop: () => void;
  #materials: TlsMaterials | undefined;
  #absence = "";

  constructor(common: CommonTlsContext | undefined, side: TlsSidePlan, dependencies: Dependencies) {
    this.plan = planTls(common ?? CommonTlsContext.create(), side);
    this.counters = dependencies.counters;
    this.#dependencies = dependencies;
    this.#stop = dependencies.secrets.onChange((name) => {
      if (this.plan.secretNames.has(name)) this.#rebuild();
    });
    this.#rebuild();
  }

  /** Whether the name that a client asks for has a say in what it is served with. */
  get isByName(): boolean {
    return this.#materials?.isByName === true;
  }

  /** For a handshake that starts now, by the name that is asked for; a reason when there is none. */
  material(name?: string): TlsMaterial | string {
    return this.#materials?.of(name) ?? this.#absence;
  }

  /** Counts a handshake that failed, and tells whoever asked to hear of each. */
  fail(kind: TlsFailureKind, error: ChannelError): void {
    this.counters.onFailure(kind);
    this.#dependencies.onFailure?.(error);
  }

  close(): void {
    this.#stop();
  }

  #rebuild(): void {
    try {
      const built = buildMaterials(this.plan, this.#dependencies.secrets);
      if ("missing" in built) {
        this.#absence = `secret ${built.missing} has not arrived`;
        // A secret that was taken away must not go on being used.
        this.#materials = undefined;
      } else {
        this.#materials = built;
      }
    } catch (thrown) {
      // The version before stays: a broken rotation must not stop the traffic.
      this.#absence = messageOf(thrown);
      this.#dependencies.log.error("a TLS context cannot be made from its secrets", {
        secrets: [...this.plan.secretNames].join(" "),
        reason: messageOf(thrown),
      });
    }
  }
}
