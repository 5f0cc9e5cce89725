/**
 * Tokens whose signature held, by their text: to look costs a hundredth of a signature. Whether they
 * hold now (time, audience) is asked each time. New keys forget all of them.
 */
import type { JwtCacheConfig } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import type { KeySet } from "./keys.ts";

/** Where keys come from: the configuration, or a server that has to be asked. */
export interface KeySource {
  state(): KeyState;
  /** What came last, however old. */
  latest(): KeySet | undefined;
  /** Calls back once, later or at once; what it returns ends the wait without a call. */
  fetch(onFetched: (isFetched: boolean) => void): () => void;
}

export type KeyState =
  | { readonly kind: "here"; readonly keys: KeySet }
  | { readonly kind: "wanted" };

const tokensDefault = 100;
const tokensMax = 10_000;
const tokenBytesDefault = 4096;

export class VerifiedTokens {
  readonly #texts = new Set<string>();
  readonly #countMax: number;
  readonly #bytesMax: number;
  #keys: KeySet | undefined;

  constructor(config: JwtCacheConfig | undefined) {
    this.#countMax = Math.min(config?.jwtCacheSize || tokensDefault, tokensMax);
    this.#bytesMax = config?.jwtMaxTokenSize || tokenBytesDefault;
  }

  has(text: string, keys: KeySet): boolean {
    if (keys !== this.#keys) {
      this.#texts.clear();
      this.#keys = keys;
    }
    // The one used last is last.
    if (!this.#texts.delete(text)) return false;
    this.#texts.add(text);
    return true;
  }

  /** After `has()` with the keys that have signed it. */
  add(text: string): void {
    if (text.length > this.#bytesMax) return;
    if (this.#texts.size >= this.#countMax) {
      const [oldest] = this.#texts;
      if (oldest !== undefined) this.#texts.delete(oldest);
    }
    this.#texts.add(text);
  }
}
