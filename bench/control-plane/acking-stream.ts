/** One proxy's delta stream without a connection: it asks as proxies do and acknowledges everything. */
import { typeUrls } from "../../src/xds/feed.ts";
import { StreamPublisher } from "../../src/xds/server/publisher.ts";
import type { Snapshot } from "../../src/xds/snapshot.ts";
import { DeltaDiscoveryResponse } from "../../src/wire/gen/ts/envoy/service/discovery/v3/discovery.ts";

const noFields = {
  responseNonce: "",
  errorDetail: undefined,
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
};

export class AckingStream {
  readonly #publisher = new StreamPublisher("delta", 5000);
  readonly #asked = new Map<string, Set<string>>();

  constructor() {
    for (const typeUrl of [typeUrls.cluster, typeUrls.listener, typeUrls.nameTable]) {
      this.#publisher.receiveDelta(typeUrl, noFields);
    }
  }

  /** Bytes of the responses until the proxy has all of `snapshot`. */
  take(snapshot: Snapshot): number {
    this.#publisher.setSnapshot(snapshot);
    let bytes = 0;
    for (;;) {
      const outgoing = this.#publisher.poll(0);
      if (outgoing.length === 0) return bytes;
      for (const { typeUrl, message, change } of outgoing) {
        bytes += message.length;
        const { nonce: responseNonce } = DeltaDiscoveryResponse.decode(message);
        this.#publisher.receiveDelta(typeUrl, { ...noFields, responseNonce });
        if (typeUrl === typeUrls.cluster) this.#ask(typeUrls.endpoint, change.resources);
        if (typeUrl === typeUrls.listener) this.#ask(typeUrls.route, change.resources);
      }
    }
  }

  #ask(typeUrl: string, resources: readonly { readonly references: readonly string[] }[]): void {
    const asked = this.#asked.get(typeUrl) ?? new Set();
    this.#asked.set(typeUrl, asked);
    const names = resources.flatMap((one) => one.references).filter((name) => !asked.has(name));
    if (names.length === 0) return;
    for (const name of names) asked.add(name);
    this.#publisher.receiveDelta(typeUrl, { ...noFields, resourceNamesSubscribe: names });
  }
}
