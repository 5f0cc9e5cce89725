import type { XdsFeed, XdsResource, XdsUpdate } from "../../src/xds/feed.ts";

/** A feed that a test fills; `answers` holds how each update was answered, in order. */
export class ScriptedFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => {};
  readonly wishes: Map<string, "*" | ReadonlySet<string>> = new Map<
    string,
    "*" | ReadonlySet<string>
  >();
  readonly answers: string[] = [];

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    this.wishes.set(typeUrl, names);
  }

  send(typeUrl: string, resources: readonly XdsResource[], removed: readonly string[] = []): void {
    this.onUpdate({
      typeUrl,
      version: resources.at(-1)?.version ?? "",
      resources,
      removed,
      respond: (refusal) => void this.answers.push(refusal ?? "accepted"),
    });
  }
}

export function xdsResource(name: string, content: string = name): XdsResource {
  return { name, version: content, bytes: Buffer.from(content) };
}
