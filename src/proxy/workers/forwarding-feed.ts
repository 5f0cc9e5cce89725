/**
 * A feed whose updates are answered when the data workers have applied them, too: the control thread
 * decides first, and what it accepts goes on to them. What follows from an update (other wishes)
 * waits for its answer, so that whoever feeds us sees the order it knows.
 */
import {
  type SecretOrigin,
  typeUrls,
  type XdsFeed,
  type XdsResource,
  type XdsUpdate,
} from "../../xds/feed.ts";

export type ForwardedUpdate = Pick<XdsUpdate, "typeUrl" | "resources" | "removed" | "isInterim">;

/** In this order what refers comes after what is referred to, or waits for it. */
export const forwardedTypes: readonly string[] = [
  typeUrls.cluster,
  typeUrls.endpoint,
  typeUrls.extension,
  typeUrls.listener,
  typeUrls.route,
];

/** A message of thousands holds up the thread that receives it for milliseconds. */
const resourcesPerMessage = 256;

export interface ForwardingOptions {
  readonly feed: XdsFeed;
  /** Resolves when all workers have answered, with the first refusal. */
  readonly forward: (update: ForwardedUpdate) => Promise<string | undefined>;
  /** What the control thread serves by of these, refused ones left out. */
  readonly accepted: (typeUrl: string, names: ReadonlySet<string>) => readonly XdsResource[];
}

export class ForwardingFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => {};
  readonly #options: ForwardingOptions;
  #last: Promise<void> | undefined;

  constructor(options: ForwardingOptions) {
    this.#options = options;
    options.feed.onUpdate = (update) =>
      this.onUpdate({
        ...update,
        respond: (refusal) => this.#inOrder(() => this.#respond(update, refusal)),
      });
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    this.#inOrder(() => this.#options.feed.subscribe(typeUrl, names));
  }

  refresh(typeUrl: string, name: string): void {
    const { feed, forward, accepted } = this.#options;
    this.#inOrder(async () => {
      await forward({ typeUrl, resources: accepted(typeUrl, new Set([name])), removed: [] });
      feed.refresh?.(typeUrl, name);
    });
  }

  wantSecrets(secrets: ReadonlyMap<string, SecretOrigin>): void {
    this.#inOrder(() => this.#options.feed.wantSecrets?.(secrets));
  }

  async #respond(update: XdsUpdate, refusal: string | undefined): Promise<void> {
    const { typeUrl } = update;
    const { forward, accepted } = this.#options;
    const names = new Set(update.resources.map(({ name }) => name));
    const resources = accepted(typeUrl, names);
    let theirs: string | undefined;
    let at = 0;
    for (; at + resourcesPerMessage < resources.length; at += resourcesPerMessage) {
      const part = resources.slice(at, at + resourcesPerMessage);
      const answer = await forward({
        typeUrl,
        resources: part,
        removed: [],
        isInterim: true,
      });
      theirs ??= answer;
    }
    const answer = await forward({ ...pickUpdate(update), resources: resources.slice(at) });
    update.respond(refusal ?? theirs ?? answer);
  }

  /** At once where nothing is under way. */
  #inOrder(task: () => Promise<void> | void): void {
    const running = this.#last === undefined ? task() : this.#last.then(task);
    if (running === undefined) return;
    const last = running.then(() => {
      if (this.#last === last) this.#last = undefined;
    });
    this.#last = last;
  }
}

function pickUpdate({
  typeUrl,
  removed,
  isInterim,
}: XdsUpdate): Omit<ForwardedUpdate, "resources"> {
  return isInterim === true ? { typeUrl, removed, isInterim } : { typeUrl, removed };
}
