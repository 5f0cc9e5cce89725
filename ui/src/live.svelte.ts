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
import { authorization } from "./session.ts";
import { createEventReader, type StreamEvent } from "./view/event-stream.ts";

const retryMs = 1000;
const retryMaxMs = 5000;
/** The console says something every 15 s at least. */
const silenceMaxMs = 40_000;

class Live {
  status: StatusAnswer | undefined = $state.raw();
  graph: GraphAnswer | undefined = $state.raw();
  services: readonly ServiceSummary[] | undefined = $state.raw();
  proxies: readonly ProxyStatus[] | undefined = $state.raw();
  config: ConfigAnswer | undefined = $state.raw();
  /** `closed`: the console wants a token that this browser does not have. */
  connection: "connecting" | "live" | "lost" | "closed" = $state("connecting");
  /** Since when nothing has come, as told by this machine's clock. */
  lostAtMs: number | undefined = $state();
  window: string = $state("60s");
  #reading: AbortController | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  open(): void {
    this.#reading?.abort();
    clearTimeout(this.#retry);
    const reading = new AbortController();
    this.#reading = reading;
    void this.#read(reading);
  }

  setWindow(window: string): void {
    if (window === this.window) return;
    this.window = window;
    if (this.#reading !== undefined) this.open();
  }

  async #read(reading: AbortController): Promise<void> {
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = (): void => {
      clearTimeout(silence);
      silence = setTimeout(() => reading.abort("silence"), silenceMaxMs);
    };
    try {
      heard();
      const response = await fetch(`/api/events?window=${this.window}`, {
        headers: authorization(),
        signal: reading.signal,
      });
      if (response.status === 401) {
        this.connection = "closed";
        return;
      }
      if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
      this.connection = "live";
      this.lostAtMs = undefined;
      this.#failures = 0;
      const read = createEventReader();
      const text = response.body.pipeThrough(new TextDecoderStream());
      for (const reader = text.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        heard();
        for (const event of read(value)) this.#take(event);
      }
      this.#lose(reading);
    } catch {
      // Gone, or we asked anew: only the newest reading tells the page.
      this.#lose(reading);
    } finally {
      clearTimeout(silence);
    }
  }

  #lose(reading: AbortController): void {
    if (reading !== this.#reading) return;
    if (this.connection !== "lost") this.lostAtMs = Date.now();
    this.connection = "lost";
    const delayMs = Math.min(retryMaxMs, retryMs * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.open(), delayMs);
  }

  #take({ name, text }: StreamEvent): void {
    switch (name) {
      case "status":
        this.status = JSON.parse(text);
        break;
      case "graph":
        this.graph = JSON.parse(text);
        break;
      case "services":
        this.services = JSON.parse(text);
        break;
      case "proxies":
        this.proxies = JSON.parse(text);
        break;
      case "config":
        this.config = JSON.parse(text);
    }
  }
}

export const live = new Live();

/** Asks the console once; throws its own sentence when it refuses. */
export async function ask<Answer>(path: string): Promise<Answer> {
  const response = await fetch(path, {
    headers: { accept: "application/json", ...authorization() },
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  if (response.status === 401) live.connection = "closed";
  let reason = `status ${response.status}`;
  try {
    reason = JSON.parse(text).message ?? reason;
  } catch {
    // Not the console's own answer; the status says enough.
  }
  throw new Error(reason);
}
