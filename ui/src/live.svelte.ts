/**
 * The newest state of the mesh, pushed by the console. One connection for all pages; it reconnects by
 * itself, and pages keep showing the last state with its age until it is back.
 */
import type {
  ConfigAnswer,
  GraphAnswer,
  ProxyStatus,
  ServiceSummary,
  StatusAnswer,
} from "../../src/console/api.ts";

class Live {
  status: StatusAnswer | undefined = $state.raw();
  graph: GraphAnswer | undefined = $state.raw();
  services: readonly ServiceSummary[] | undefined = $state.raw();
  proxies: readonly ProxyStatus[] | undefined = $state.raw();
  config: ConfigAnswer | undefined = $state.raw();
  connection: "connecting" | "live" | "lost" = $state("connecting");
  /** Since when nothing has come, as told by this machine's clock. */
  lostAtMs: number | undefined = $state();
  window: string = $state("60s");
  #source: EventSource | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  open(): void {
    this.#source?.close();
    clearTimeout(this.#retry);
    const source = new EventSource(`/api/events?window=${this.window}`);
    this.#source = source;
    source.addEventListener("open", () => {
      this.connection = "live";
      this.lostAtMs = undefined;
    });
    source.addEventListener("error", () => {
      if (this.connection !== "lost") this.lostAtMs = Date.now();
      this.connection = "lost";
      // A refusal closes it for good; everything else the browser tries again.
      if (source.readyState === EventSource.CLOSED) {
        this.#retry = setTimeout(() => this.open(), 3000);
      }
    });
    this.#on(source, "status", (value) => (this.status = value));
    this.#on(source, "graph", (value) => (this.graph = value));
    this.#on(source, "services", (value) => (this.services = value));
    this.#on(source, "proxies", (value) => (this.proxies = value));
    this.#on(source, "config", (value) => (this.config = value));
  }

  setWindow(window: string): void {
    this.window = window;
    this.open();
  }

  #on<Kind extends keyof Views>(
    source: EventSource,
    kind: Kind,
    take: (value: Views[Kind]) => void,
  ): void {
    source.addEventListener(kind, (event) => take(JSON.parse(event.data)));
  }
}

interface Views {
  status: StatusAnswer;
  graph: GraphAnswer;
  services: readonly ServiceSummary[];
  proxies: readonly ProxyStatus[];
  config: ConfigAnswer;
}

export const live = new Live();

/** Asks the console once; throws its own sentence when it refuses. */
export async function ask<Answer>(path: string): Promise<Answer> {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  let reason = `status ${response.status}`;
  try {
    reason = JSON.parse(text).message ?? reason;
  } catch {
    // Not the console's own answer; the status says enough.
  }
  throw new Error(reason);
}
