import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import {
  DeltaDiscoveryResponse,
  DiscoveryResponse,
} from "../../wire/gen/ts/envoy/service/discovery/v3/discovery.ts";
import { typeUrls } from "../feed.ts";
import { encodedResource, resourcesOf, type Snapshot, snapshotOf } from "../snapshot.ts";
import { StreamPublisher, type XdsVariant } from "./publisher.ts";

/**
 * A client that behaves as Envoy does, against a model: whatever order snapshots, answers and
 * reconnects come in, it ends with what the last snapshot holds, and on the way no route that it has
 * points to a cluster it lacks.
 */
class ModelProxy {
  readonly variant: XdsVariant;
  publisher!: StreamPublisher;
  readonly has = new Map<string, Map<string, { version: string; references: string[] }>>();
  readonly inbox: { typeUrl: string; message: Uint8Array }[] = [];
  readonly lastNonce = new Map<string, string>();
  readonly #asked = new Map<string, string>();
  nowMs = 0;

  readonly #refuses: (text: string) => boolean;

  constructor(variant: XdsVariant, refuses: (text: string) => boolean = () => false) {
    this.variant = variant;
    this.#refuses = refuses;
    for (const typeUrl of order) this.has.set(typeUrl, new Map());
  }

  connect(snapshot: Snapshot): void {
    this.publisher = new StreamPublisher(this.variant, 5000);
    this.inbox.length = 0;
    this.lastNonce.clear();
    this.#asked.clear();
    this.publisher.setSnapshot(snapshot);
    this.#ask(typeUrls.cluster, []);
    this.#ask(typeUrls.listener, []);
    this.#askDependents();
  }

  setSnapshot(snapshot: Snapshot): void {
    this.publisher.setSnapshot(snapshot);
    this.#pull();
  }

  /** Reads one response, applies it and acknowledges. */
  step(): boolean {
    const next = this.inbox.shift();
    if (next === undefined) return false;
    const { typeUrl, message } = next;
    const bad = this.#badIn(message);
    if (bad !== undefined) {
      this.#answer(typeUrl, bad.nonce, `${bad.name}: no`);
      return true;
    }
    const held = this.#held(typeUrl);
    let nonce: string;
    if (this.variant === "delta") {
      const response = DeltaDiscoveryResponse.decode(message);
      for (const { name, version, resource } of response.resources) {
        held.set(name, { version, references: referencesIn(resource?.value) });
      }
      for (const name of response.removedResources) held.delete(name);
      nonce = response.nonce;
    } else {
      const response = DiscoveryResponse.decode(message);
      const isWhole = typeUrl === typeUrls.cluster || typeUrl === typeUrls.listener;
      if (isWhole) held.clear();
      for (const resource of response.resources) {
        const text = Buffer.from(resource.value).toString();
        const name = text.split(" ")[0] ?? "";
        held.set(name, { version: text, references: referencesIn(resource.value) });
      }
      nonce = response.nonce;
    }
    this.lastNonce.set(typeUrl, nonce);
    // Like Envoy: the answer first, then what the new resources need.
    this.#answer(typeUrl, nonce);
    this.#askDependents();
    this.checkRoutes();
    return true;
  }

  /** The first resource this proxy cannot stand; it refuses the whole response for it. */
  #badIn(message: Uint8Array): { name: string; nonce: string } | undefined {
    const response =
      this.variant === "delta"
        ? DeltaDiscoveryResponse.decode(message)
        : DiscoveryResponse.decode(message);
    for (const one of response.resources) {
      const value =
        "resource" in one ? one.resource?.value : "value" in one ? one.value : undefined;
      const text = Buffer.from(value ?? "").toString();
      if (this.#refuses(text)) return { name: text.split(" ")[0] ?? "", nonce: response.nonce };
    }
    return undefined;
  }

  checkRoutes(): void {
    const clusters = this.#held(typeUrls.cluster);
    for (const [route, { references }] of this.#held(typeUrls.route)) {
      for (const cluster of references) {
        assert.ok(clusters.has(cluster), `route ${route} points to ${cluster}, which is gone`);
      }
    }
  }

  #held(typeUrl: string): Map<string, { version: string; references: string[] }> {
    const held = this.has.get(typeUrl);
    assert.ok(held);
    return held;
  }

  #answer(typeUrl: string, nonce: string, refusal?: string): void {
    const errorDetail = refusal === undefined ? undefined : { code: 3, message: refusal };
    if (this.variant === "delta") {
      this.publisher.receiveDelta(typeUrl, { ...emptyDelta, responseNonce: nonce, errorDetail });
    } else {
      const resourceNames = JSON.parse(this.#asked.get(typeUrl) ?? "[]");
      this.publisher.receiveSotw(typeUrl, { resourceNames, responseNonce: nonce, errorDetail });
    }
    this.#pull();
  }

  #askDependents(): void {
    for (const [parent, child] of [
      [typeUrls.cluster, typeUrls.endpoint],
      [typeUrls.listener, typeUrls.route],
    ] as const) {
      const names = [...this.#held(parent).values()].flatMap(({ references }) => references);
      const wanted = [...new Set(names)].toSorted();
      for (const name of this.#held(child).keys()) {
        if (!wanted.includes(name)) this.#held(child).delete(name);
      }
      if (wanted.length > 0 || this.#asked.has(child)) this.#ask(child, wanted);
    }
  }

  #ask(typeUrl: string, names: readonly string[]): void {
    const before = this.#asked.get(typeUrl);
    const key = JSON.stringify(names);
    if (before === key) return;
    this.#asked.set(typeUrl, key);
    if (this.variant === "sotw") {
      const responseNonce = this.lastNonce.get(typeUrl) ?? "";
      this.publisher.receiveSotw(typeUrl, { resourceNames: [...names], responseNonce });
    } else {
      const old: string[] = JSON.parse(before ?? "[]");
      const held = [...this.#held(typeUrl)].map(([name, { version }]) => [name, version]);
      this.publisher.receiveDelta(typeUrl, {
        ...emptyDelta,
        resourceNamesSubscribe: names.filter((name) => !old.includes(name)),
        resourceNamesUnsubscribe: old.filter((name) => !names.includes(name)),
        initialResourceVersions: before === undefined ? Object.fromEntries(held) : {},
      });
    }
    this.#pull();
  }

  #pull(): void {
    const outgoing = this.publisher.poll(this.nowMs);
    this.inbox.push(...outgoing);
    for (const typeUrl of order) {
      const waiting = this.inbox.filter((response) => response.typeUrl === typeUrl);
      assert.ok(waiting.length <= 1, "one response per type is under way");
    }
  }
}

const order = [typeUrls.cluster, typeUrls.endpoint, typeUrls.listener, typeUrls.route];
const emptyDelta = {
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
  responseNonce: "",
};

function referencesIn(value: Uint8Array | undefined): string[] {
  return Buffer.from(value ?? "")
    .toString()
    .split(" ")
    .slice(2);
}

function resource(name: string, version: number, references: readonly string[]) {
  const text = [name, `v${version}`, ...references].join(" ");
  return encodedResource(name, Buffer.from(text), { references });
}

/** Services 0–3, each absent or of some version; one listener and one route table for all of them. */
const snapshots = fc
  .record({
    clusters: fc.array(fc.option(fc.nat(2)), { minLength: 4, maxLength: 4 }),
    endpoints: fc.nat(3),
    listener: fc.nat(2),
    route: fc.nat(3),
  })
  .map(({ clusters, endpoints, listener, route }) => {
    const present = clusters.flatMap((version, i) => (version === null ? [] : [{ i, version }]));
    const names = present.map(({ i }) => `c${i}`);
    return snapshotOf("1", [
      [typeUrls.cluster, present.map(({ i, version }) => resource(`c${i}`, version, [`e${i}`]))],
      [typeUrls.endpoint, present.map(({ i }) => resource(`e${i}`, endpoints, []))],
      [typeUrls.listener, [resource("l", listener, ["r"])]],
      [typeUrls.route, [resource("r", route, names)]],
    ]);
  });

const moves = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constant({ kind: "step" as const }) },
    {
      weight: 2,
      arbitrary: snapshots.map((snapshot) => ({ kind: "snapshot" as const, snapshot })),
    },
    { weight: 1, arbitrary: fc.constant({ kind: "reconnect" as const }) },
  ),
  { maxLength: 25 },
);

function checkConvergence(variant: XdsVariant, hasReconnects: boolean): void {
  fc.assert(
    fc.property(snapshots, moves, (first, steps) => {
      const proxy = new ModelProxy(variant);
      let snapshot = first;
      proxy.connect(snapshot);
      for (const move of steps) {
        if (move.kind === "step") proxy.step();
        else if (move.kind === "reconnect") {
          if (hasReconnects) proxy.connect(snapshot);
        } else {
          snapshot = move.snapshot;
          proxy.setSnapshot(snapshot);
        }
      }
      let rest = 0;
      while (proxy.step()) assert.ok(++rest < 100, "it comes to rest");
      for (const typeUrl of order) {
        const wanted = [...resourcesOf(snapshot, typeUrl).values()].map(
          (r) => `${r.name} ${variant === "delta" ? r.version : Buffer.from(r.bytes).toString()}`,
        );
        const got = [...(proxy.has.get(typeUrl) ?? [])].map(
          ([name, { version }]) => `${name} ${version}`,
        );
        assert.deepEqual(new Set(got), new Set(wanted), typeUrl);
        assert.equal(proxy.publisher.isSettled(typeUrl), true);
      }
    }),
    { numRuns: 300 },
  );
}

test("StreamPublisher.poll() brings a delta client to the snapshot, make before break", () => {
  checkConvergence("delta", true);
});

test("StreamPublisher.poll() brings a state-of-the-world client to the snapshot", () => {
  checkConvergence("sotw", false);
});

/** Clusters of version 2 are bad: the proxy keeps what it had of them and gets all the others. */
function checkRefusals(variant: XdsVariant): void {
  const isBad = (text: string): boolean => /^c\d v2/.test(text);
  fc.assert(
    fc.property(fc.array(snapshots, { minLength: 1, maxLength: 6 }), (all) => {
      const proxy = new ModelProxy(variant, isBad);
      proxy.checkRoutes = () => {}; // a route to a refused cluster points nowhere
      const [first, ...rest] = all;
      assert.ok(first !== undefined);
      proxy.connect(first);
      for (const snapshot of rest) {
        proxy.step();
        proxy.setSnapshot(snapshot);
      }
      let steps = 0;
      while (proxy.step()) assert.ok(++steps < 200, "it comes to rest");
      const clusters = proxy.has.get(typeUrls.cluster);
      for (const one of resourcesOf(all.at(-1), typeUrls.cluster).values()) {
        const text = Buffer.from(one.bytes).toString();
        if (isBad(text)) continue;
        const wanted = variant === "delta" ? one.version : text;
        assert.equal(clusters?.get(one.name)?.version, wanted, one.name);
      }
    }),
    { numRuns: 300 },
  );
}

test("StreamPublisher.poll() gets the good resources to a delta client that refuses others", () => {
  checkRefusals("delta");
});

test("StreamPublisher.poll() gets the good resources to a state-of-the-world client likewise", () => {
  checkRefusals("sotw");
});
