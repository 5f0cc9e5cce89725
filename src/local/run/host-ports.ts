/**
 * Which port of the host leads to which gateway, as the mesh file says it now. A port that the file
 * gives up is closed at once; one that cannot be opened is a problem, tried again until it opens or
 * is wanted no more, and meanwhile the gateway keeps the port it had. How a port is opened is the
 * opener's business: `namespaces` and explicit mode differ.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Problem, SourcePosition } from "../../base/problem.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";

export interface GatewayTarget {
  /** `gatewayPortKey`. */
  readonly key: string;
  readonly hostAddress: string;
  /** 0: any free one. */
  readonly hostPort: number;
  readonly name: string;
  readonly position: SourcePosition;
  /** Where the gateway listens now; undefined while it has no place. */
  readonly target: () => SocketAddress | undefined;
}

export interface HostPortOpener {
  /** Opens a port of the host and leads it to the gateway; rejects with a sentence. */
  open(target: GatewayTarget): Promise<OpenHostPort>;
}

export interface OpenHostPort {
  /** The port that was chosen when 0 was asked for. */
  readonly port: number;
  /** From then on connections are refused and the port is free. */
  close(): void;
}

export interface HostPortsOptions {
  readonly opener: HostPortOpener;
  readonly clock: Clock;
  /** A port was opened that was not open before. */
  readonly onOpen: (target: GatewayTarget, address: SocketAddress) => void;
  /** `problems` has changed. */
  readonly onProblems: () => void;
}

const retryMs = 2000;

interface Held {
  readonly target: GatewayTarget;
  readonly port: OpenHostPort;
}

export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #held = new Map<string, Held>();
  #wanted: readonly GatewayTarget[] = [];
  #problems: readonly Problem[] = [];
  #isSettling = false;
  #isStale = false;
  #isClosed = false;
  #retry: Timer | undefined;

  constructor(options: HostPortsOptions) {
    this.#options = options;
  }

  /** Ports that the file asks for and the host refuses. */
  get problems(): readonly Problem[] {
    return this.#problems;
  }

  follow(gateways: readonly GatewayTarget[]): void {
    this.#wanted = gateways;
    this.#isStale = true;
    if (!this.#isSettling) void this.#settle();
  }

  close(): void {
    this.#isClosed = true;
    this.#retry?.cancel();
    for (const { port } of this.#held.values()) port.close();
    this.#held.clear();
  }

  async #settle(): Promise<void> {
    this.#isSettling = true;
    this.#retry?.cancel();
    while (this.#isStale && !this.#isClosed) {
      this.#isStale = false;
      const wanted = this.#wanted;
      this.#giveUp(wanted);
      const problems: Problem[] = [];
      for (const target of wanted) {
        const problem = await this.#open(target);
        if (problem !== undefined) problems.push(problem);
      }
      this.#tell(problems);
    }
    this.#isSettling = false;
    if (this.#problems.length === 0 || this.#isClosed) return;
    this.#retry = this.#options.clock.schedule(retryMs, () => this.follow(this.#wanted));
  }

  /** Closes what nobody wants any more, and what stands in the way of another gateway's port. */
  #giveUp(wanted: readonly GatewayTarget[]): void {
    for (const [key, { target, port }] of this.#held) {
      const next = wanted.find((one) => one.key === key);
      if (next !== undefined && isSamePlace(next, target)) continue;
      const isInTheWay = wanted.some((one) => one.key !== key && one.hostPort === port.port);
      if (next !== undefined && !isInTheWay) continue;
      port.close();
      this.#held.delete(key);
    }
  }

  async #open(target: GatewayTarget): Promise<Problem | undefined> {
    const { opener, onOpen } = this.#options;
    const before = this.#held.get(target.key);
    if (before !== undefined && isSamePlace(before.target, target)) return undefined;
    try {
      const port = await opener.open(target);
      if (this.#isClosed) {
        port.close();
        return undefined;
      }
      before?.port.close();
      this.#held.set(target.key, { target, port });
      onOpen(target, { address: target.hostAddress, port: port.port });
      return undefined;
    } catch (thrown) {
      return problemOf(target, messageOf(thrown), before);
    }
  }

  #tell(problems: readonly Problem[]): void {
    const hasChanged = JSON.stringify(problems) !== JSON.stringify(this.#problems);
    this.#problems = problems;
    if (hasChanged) this.#options.onProblems();
  }
}

function isSamePlace(one: GatewayTarget, other: GatewayTarget): boolean {
  return one.hostPort === other.hostPort && one.hostAddress === other.hostAddress;
}

// The opener's sentence ends with what to do, after a semicolon.
function problemOf(target: GatewayTarget, sentence: string, before: Held | undefined): Problem {
  const [message = sentence, ...remedies] = sentence.split("; ");
  const kept =
    before === undefined
      ? ""
      : `, so it stays on ${formatSocketAddress({ address: before.target.hostAddress, port: before.port.port })}`;
  return {
    code: "heddle-file.host-port",
    severity: "error",
    path: `gateways.${target.name}.hostPort`,
    message: `${message}${kept}`,
    hint: `${remedies.join("; ") || "choose another port"}; it is tried again until it opens`,
    source: target.position,
  };
}
