/**
 * Live views over server-sent events: one computation per view, window and turn, shared by every
 * client, and none while nobody looks. A client that does not read is skipped, not queued for: it
 * gets the newest state when it reads again.
 */
import type { ServerResponse } from "node:http";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import type { ControlPlane } from "../control/control-view.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ConsoleEvent } from "./api.ts";
import type { Views } from "./views.ts";

export interface EventHubOptions {
  readonly views: Views;
  readonly controlPlane: ControlPlane;
  readonly clock: Clock;
  readonly log: Logger;
  /** Between two turns of the figures. */
  readonly intervalMs: number;
}

export interface EventHub {
  /** Whether there are as many clients as may be: `add()` nobody. */
  readonly isFull: boolean;
  /** Takes over the response. */
  add(response: ServerResponse, windowMs: number): void;
  readonly clients: number;
  close(): void;
}

const clientsMax = 64;
const queuedBytesMax = 1024 * 1024;
const heartbeatEveryMs = 15_000;
const changeDelayMs = 100;

interface Client {
  readonly response: ServerResponse;
  readonly windowMs: number;
  /** Last sent, by kind: what has not changed is not sent again. */
  readonly sent: Map<ConsoleEvent["kind"], string>;
  lastWriteMs: number;
}

type Message = readonly [ConsoleEvent["kind"], string];

export function createEventHub(options: EventHubOptions): EventHub {
  const { clock, log, controlPlane } = options;
  const clients = new Set<Client>();
  let figuresTimer: Timer | undefined;
  let changeTimer: Timer | undefined;

  const send = async (
    to: readonly Client[],
    compose: (windowMs: number) => Promise<readonly Message[]>,
  ): Promise<void> => {
    for (const [windowMs, group] of Map.groupBy(to, (client) => client.windowMs)) {
      try {
        const messages = await compose(windowMs);
        for (const client of group) deliver(client, messages, clock.nowMs());
      } catch (error) {
        log.warn("live view failed", { reason: messageOf(error) });
      }
    }
  };
  const figures = (windowMs: number): Promise<readonly Message[]> =>
    composeFigures(options.views, windowMs);
  const state = async (): Promise<readonly Message[]> => composeState(options);

  const turn = (): void => {
    figuresTimer = undefined;
    if (clients.size === 0) return;
    figuresTimer = clock.schedule(options.intervalMs, turn);
    void send([...clients], figures);
  };
  const stopListening = controlPlane.onChange(() => {
    if (clients.size === 0 || changeTimer !== undefined) return;
    changeTimer = clock.schedule(changeDelayMs, () => {
      changeTimer = undefined;
      void send([...clients], async (windowMs) => [
        ...(await state()),
        ...(await figures(windowMs)),
      ]);
    });
  });

  return {
    get clients() {
      return clients.size;
    },
    get isFull() {
      return clients.size >= clientsMax;
    },
    add(response, windowMs) {
      const client: Client = { response, windowMs, sent: new Map(), lastWriteMs: clock.nowMs() };
      clients.add(client);
      response.on("close", () => clients.delete(client));
      // Reconnect after a second; the browser keeps trying.
      response.write("retry: 1000\n\n");
      void send([client], async () => [...(await state()), ...(await figures(windowMs))]);
      figuresTimer ??= clock.schedule(options.intervalMs, turn);
    },
    close() {
      stopListening();
      figuresTimer?.cancel();
      changeTimer?.cancel();
      for (const { response } of clients) response.end();
      clients.clear();
    },
  };
}

async function composeFigures(views: Views, windowMs: number): Promise<readonly Message[]> {
  const [status, graph, services] = await Promise.all([
    views.status(windowMs),
    views.graph(windowMs),
    views.services(windowMs),
  ]);
  return [
    ["status", JSON.stringify(status)],
    ["graph", JSON.stringify(graph)],
    ["services", JSON.stringify(services)],
  ];
}

function composeState({ views, controlPlane }: EventHubOptions): readonly Message[] {
  return [
    ["proxies", JSON.stringify(controlPlane.proxies())],
    ["config", JSON.stringify(views.config({}))],
  ];
}

function deliver(client: Client, messages: readonly Message[], nowMs: number): void {
  const { response, sent } = client;
  if (response.writableEnded || response.writableLength > queuedBytesMax) return;
  for (const [kind, text] of messages) {
    if (sent.get(kind) === text) continue;
    sent.set(kind, text);
    response.write(`event: ${kind}\ndata: ${text}\n\n`);
    client.lastWriteMs = nowMs;
  }
  if (nowMs - client.lastWriteMs >= heartbeatEveryMs) {
    response.write(": still here\n\n");
    client.lastWriteMs = nowMs;
  }
}
