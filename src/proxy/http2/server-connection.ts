/**
 * One client's HTTP/2 connection: joins its bytes to a session and the session's streams to what serves
 * requests, and keeps the connection's deadlines: idle, slow heads, age, PING, the farewell. What frames
 * mean is the session's business, what a request means the stream's.
 */
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import type { Flood } from "../../wire/http2-floods.ts";
import { errorCode, type Violation, windowMax } from "../../wire/http2-frames.ts";
import type { FrameMemory } from "../../wire/http2-frame-memory.ts";
import { Http2Session, type SessionHandler } from "../../wire/http2-session.ts";
import type { Http2Stream, StreamOwner } from "../../wire/http2-stream.ts";
import type { ConnectionHome } from "../connection-home.ts";
import type { ConnectionView } from "../engine/request.ts";
import { Deadline, type DeadlineOwner } from "../http/deadline-wheel.ts";
import type { AcceptedHttp } from "../http/accepted-http.ts";
import type { ClientEnd } from "../http/downstream-series.ts";
import { headTimeoutMs } from "../http/head-timeout.ts";
import type { HttpServices } from "../http/http-services.ts";
import { isLastAnswer } from "../http/last-answer.ts";
import type { Http2Counters } from "./counters.ts";
import { ServerStream } from "./server-stream.ts";
import type { Http2ServerSettings } from "./settings.ts";

/** For a client to say that it has read our settings. */
const settingsTimeoutMs = 30_000;
/** After so long without a stream a connection gives up what only streams need. */
const restMs = 5000;
/** Stream objects kept for later requests; more than so many at once are made anew. */
const keptStreamsMax = 100;
/** Streams whose heads have grown beyond this are not kept. */
const keptHeadBytesMax = 16 * 1024;
const pingPayload = Buffer.from("keepaliv");

/** What the HTTP/2 connections of one connection manager share. */
export interface Http2Services {
  readonly settings: Http2ServerSettings;
  readonly counters: Http2Counters;
  readonly memory: FrameMemory;
}

export class ServerConnection implements ChannelHandler, SessionHandler, DeadlineOwner {
  readonly channel: Channel;
  readonly view: ConnectionView;
  readonly services: HttpServices;
  readonly session: Http2Session;
  readonly counters: Http2Counters;
  /** The stream whose part of the chunk is being read; what it writes upstream leaves at its end. */
  reading: ServerStream | undefined = undefined;
  /** When the first byte of the chunk that is being read came. */
  headBeganMs = 0;
  readonly #settings: Http2ServerSettings;
  readonly home: ConnectionHome;
  readonly #onClosed: (connection: ServerConnection) => void;
  /** Idle, a slow head, or the last wait for the client to close: never two at once. */
  readonly #deadline: Deadline = new Deadline(this);
  readonly #ageDeadline: Deadline = new Deadline(this);
  readonly #pingDeadline: Deadline = new Deadline(this);
  readonly #settingsDeadline: Deadline = new Deadline(this);
  readonly #drainDeadline: Deadline = new Deadline(this);
  /** From the first request on, while there is something to give up. */
  #restDeadline: Deadline | undefined;
  readonly #free: ServerStream[] = [];
  /** Those that serve a request, in no order. */
  readonly #streams: ServerStream[] = [];
  #waitsFor: "nothing" | "idle" | "head" = "nothing";
  #isReceiving = false;
  #isPingSent = false;
  /** `announced`: new streams are still taken, for those who have not heard. */
  #farewell: "none" | "announced" | "final" = "none";
  #announcedMs = 0;
  #isClosing = false;
  #hasPeerEnded = false;
  #isBusy = false;
  #requests = 0;
  /** As many as there were when `#waitsFor` was looked at. */
  #watchedRequests = 0;
  #idleSinceMs = 0;

  constructor(
    { channel, view, home }: AcceptedHttp,
    services: HttpServices,
    ...[http2, onClosed]: [Http2Services, (connection: ServerConnection) => void]
  ) {
    this.channel = channel;
    this.view = view;
    this.services = services;
    this.counters = http2.counters;
    this.#settings = http2.settings;
    this.home = home;
    this.#onClosed = onClosed;
    const send = (memory: Buffer, length: number): boolean => channel.writeShared(memory, length);
    this.session = new Http2Session(http2.settings, { memory: http2.memory, send, handler: this });
    const { wheel } = services.upstreams;
    wheel.touch();
    http2.counters.connections.add();
    this.session.start();
    this.session.sender.flushSoon();
    wheel.arm(this.#settingsDeadline, settingsTimeoutMs);
    if (http2.settings.pingMs > 0) wheel.arm(this.#pingDeadline, http2.settings.pingMs);
    const { maxConnectionDurationMs } = services.settings;
    if (maxConnectionDurationMs > 0) wheel.arm(this.#ageDeadline, maxConnectionDurationMs);
    this.#watch();
  }

  get allowsConnect(): boolean {
    return this.#settings.allowsConnect;
  }

  get isIdle(): boolean {
    return !this.#isClosing && this.session.streams.open.size === 0 && !this.session.isInHead;
  }

  onData(chunk: Buffer): void {
    const { wheel } = this.services.upstreams;
    wheel.touch();
    if (this.#isClosing) return;
    if (!this.session.isInHead) this.headBeganMs = wheel.nowMs;
    this.#isReceiving = true;
    this.session.receive(chunk, wheel.nowMs);
    this.enter(undefined);
    this.#isReceiving = false;
    this.session.sender.flushSoon();
    if (this.session.isSettled) this.#settingsDeadline.disarm();
    this.#watch();
  }

  /** The chunk's next part is this stream's: what another has for its upstream leaves before. */
  enter(stream: ServerStream | undefined): void {
    if (this.reading === stream) return;
    const before = this.reading;
    this.reading = stream;
    before?.stream.flushRequest();
  }

  /** Windows were given back outside of a chunk. */
  flushSoon(): void {
    if (!this.#isReceiving) this.session.sender.flushSoon();
  }

  /** What the connection waits for now has its time. */
  #watch(): void {
    if (this.#isClosing) return;
    const { wheel } = this.services.upstreams;
    const { settings } = this.services;
    const waitsFor = this.session.isInHead ? "head" : this.isIdle ? "idle" : "nothing";
    // What was answered within one chunk was something, too.
    if (waitsFor === this.#waitsFor && this.#requests === this.#watchedRequests) return;
    this.#waitsFor = waitsFor;
    this.#watchedRequests = this.#requests;
    this.#deadline.disarm();
    if (waitsFor === "head") {
      wheel.arm(this.#deadline, headTimeoutMs(settings));
    } else if (waitsFor === "idle") {
      this.#idleSinceMs = wheel.nowMs;
      if (this.#farewell === "final") return this.#close();
      if (settings.idleTimeoutMs > 0) wheel.arm(this.#deadline, settings.idleTimeoutMs);
      if (this.#requests > 0) this.#restSoon();
    }
  }

  /** Most connections are idle most of the time: one that is keeps little. */
  #restSoon(): void {
    this.#restDeadline ??= new Deadline(this);
    if (!this.#restDeadline.isArmed) {
      this.services.upstreams.wheel.arm(this.#restDeadline, restMs);
    }
  }

  #rest(): void {
    if (!this.isIdle) return;
    const { wheel } = this.services.upstreams;
    const leftMs = this.#idleSinceMs + restMs - wheel.nowMs;
    if (leftMs > 0 && this.#restDeadline !== undefined)
      return wheel.arm(this.#restDeadline, leftMs);
    for (const stream of this.#free.splice(0)) this.#release(stream);
    this.session.trim();
  }

  serve(): StreamOwner | undefined {
    const { services } = this;
    if (services.isRetired && this.home.refusal() !== undefined) {
      // Nothing serves this client any more: what it asks it may ask elsewhere.
      this.#sayFarewell();
      return undefined;
    }
    this.#requests++;
    const stream = this.#free.pop() ?? new ServerStream(this);
    stream.place = this.#streams.length;
    this.#streams.push(stream);
    return stream;
  }

  onStreamOver(stream: ServerStream): void {
    if (!this.#forget(stream)) return;
    const isSmall = stream.head.bytes.length <= keptHeadBytesMax;
    if (isSmall && this.#free.length < keptStreamsMax) this.#free.push(stream);
    else this.#release(stream);
    if (!this.#isReceiving) this.#watch();
  }

  #forget(stream: ServerStream): boolean {
    const { place } = stream;
    if (place < 0) return false;
    stream.place = -1;
    const last = this.#streams.pop();
    if (last === undefined || last === stream) return true;
    last.place = place;
    this.#streams[place] = last;
    return true;
  }

  #release(stream: ServerStream): void {
    stream.onConnectionClose();
  }

  breakOff(stream: Http2Stream, code: number): void {
    this.counters.resetsSent.add();
    this.session.streams.breakOff(stream, code);
    this.flushSoon();
  }

  onMalformed(): boolean {
    return this.#settings.resetsMalformed;
  }

  onStreamError(why: Violation): void {
    this.counters.onError(why);
    this.counters.resetsSent.add();
  }

  onError(_code: number, why: Violation | Flood): void {
    this.counters.onError(why);
    this.services.counters.protocolErrors.add();
    this.session.sender.flush();
    this.#leaveStreams();
    this.#close();
  }

  onPingAck(): void {
    this.#isPingSent = false;
    if (this.#settings.pingMs > 0) {
      this.services.upstreams.wheel.arm(this.#pingDeadline, this.#settings.pingMs);
    }
  }

  /** An answer is being written: whether the connection shall end is asked now. */
  onAnswer(): void {
    if (this.#farewell !== "none") return;
    const { services } = this;
    if (services.isRetired || isLastAnswer(services, this.#requests)) this.#announceFarewell();
  }

  /** Two words, so that what a client sends before it has heard the first is still served. */
  #announceFarewell(): void {
    if (this.#farewell !== "none" || this.session.isEnded) return;
    this.#farewell = "announced";
    this.#announcedMs = this.services.upstreams.wheel.nowMs;
    this.counters.goAways.add();
    this.session.goAway(windowMax);
    this.flushSoon();
    this.services.upstreams.wheel.arm(this.#drainDeadline, this.#settings.drainMs);
  }

  #sayFarewell(): void {
    if (this.#farewell === "final" || this.session.isEnded) return;
    this.#farewell = "final";
    this.#drainDeadline.disarm();
    this.counters.goAways.add();
    this.session.goAway(this.session.streams.lastId);
    this.flushSoon();
    if (this.isIdle && !this.#isReceiving) this.#close();
  }

  /** Half-closes and waits: a reset could overtake what was said last. */
  #close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.session.sender.flush();
    this.channel.end();
    this.services.upstreams.wheel.arm(this.#deadline, this.services.settings.delayedCloseMs);
  }

  closeIdle(sinceMs: number): void {
    if (!this.isIdle || this.#idleSinceMs > sinceMs) return;
    this.services.upstreams.wheel.touch();
    // A request may be on its way to us: its client hears the first word in time.
    if (this.#farewell === "none") this.#announceFarewell();
    else if (this.#announcedMs <= sinceMs) this.#sayFarewell();
  }

  /** Another configuration is in force: clients come again, to it. */
  onRetired(): void {
    this.services.upstreams.wheel.touch();
    this.#announceFarewell();
  }

  moveIdle(): void {
    this.#sayFarewell();
  }

  /** Once it is over. */
  get end(): ClientEnd {
    const how = this.#hasPeerEnded ? "remote" : "local";
    return { how, protocol: "http2", isBusy: this.#isBusy };
  }

  onEnd(): void {
    this.#hasPeerEnded = true;
    if (this.#isClosing) return this.channel.destroy();
    // A client that has closed its side is gone, also for its answers.
    this.services.upstreams.wheel.touch();
    this.#leaveStreams();
    this.#close();
  }

  onDrain(): void {
    this.services.upstreams.wheel.touch();
    if (this.session.isEnded) return;
    this.session.streams.onDrain();
    this.session.sender.flush();
  }

  onClose(error: ChannelError | undefined): void {
    const { wheel } = this.services.upstreams;
    if (error !== undefined) this.#hasPeerEnded = true;
    wheel.touch();
    this.#isClosing = true;
    this.session.isEnded = true;
    this.session.sender.close();
    this.#leaveStreams();
    for (const stream of this.#free.splice(0)) this.#release(stream);
    wheel.release(this.#deadline, this.#ageDeadline, this.#pingDeadline);
    wheel.release(this.#settingsDeadline, this.#drainDeadline);
    if (this.#restDeadline !== undefined) wheel.release(this.#restDeadline);
    this.#onClosed(this);
  }

  #leaveStreams(): void {
    if (this.#streams.some(({ stream }) => stream.isActive)) this.#isBusy = true;
    for (const stream of this.#streams.splice(0)) {
      stream.place = -1;
      stream.onConnectionClose();
    }
  }

  onDeadline(deadline: Deadline): void {
    const { limits } = this.services.counters;
    if (deadline === this.#drainDeadline) return this.#sayFarewell();
    if (deadline === this.#ageDeadline) {
      limits.oldConnections.add();
      return this.#announceFarewell();
    }
    if (deadline === this.#pingDeadline) return this.#onPingDeadline();
    if (deadline === this.#restDeadline) return this.#rest();
    if (deadline === this.#settingsDeadline) {
      this.counters.settingsTimeouts.add();
      return this.#give(errorCode.settingsTimeout);
    }
    if (this.#isClosing) return this.channel.destroy();
    if (this.#waitsFor === "idle") {
      if (this.#farewell === "none") limits.idleConnections.add();
      return this.#announceFarewell();
    }
    limits.slowHeads.add();
    this.#give(errorCode.enhanceYourCalm);
  }

  /** Ends a connection that is of no more use. */
  #give(code: number): void {
    this.session.isEnded = true;
    this.session.goAway(this.session.streams.lastId, code);
    this.session.sender.flush();
    this.#leaveStreams();
    this.#close();
  }

  #onPingDeadline(): void {
    const { pingMs, pingTimeoutMs } = this.#settings;
    if (this.#isPingSent) {
      this.counters.keepaliveTimeouts.add();
      this.channel.destroy();
      return;
    }
    this.#isPingSent = true;
    this.session.sender.ping(pingPayload, 0, false);
    this.session.sender.flush();
    this.services.upstreams.wheel.arm(
      this.#pingDeadline,
      pingTimeoutMs > 0 ? pingTimeoutMs : pingMs,
    );
  }
}
