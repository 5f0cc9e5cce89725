/**
 * Tokens whose signature held, by their text: to look costs a hundredth of reading and verifying one.
 * Whether they hold now (time, audience) is asked each time. New keys forget all of them.
 */
import type { JwtCacheConfig } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import type { Preparation } from "../preparation.ts";
import type { KeySet } from "./keys.ts";
import type { Token } from "./token.ts";

/** Where keys come from: the configuration, or a server that has to be asked. */
export interface KeySource {
  state(): KeyState;
  /** What came last, however old. */
  latest(): KeySet | undefined;
  /** Calls back once, later or at once; what it returns ends the wait without a call. */
  fetch(onFetched: (isFetched: boolean) => void): () => void;
  /** Where keys are asked for ahead of requests. */
  readonly ahead?: Preparation | undefined;
}

export type KeyState =
  | { readonly kind: "here"; readonly keys: KeySet }
  | { readonly kind: "wanted" };

const tokensDefault = 100;
const tokensMax = 10_000;
const tokenBytesDefault = 4096;

export class VerifiedTokens {
  readonly #tokens = new Map<string, Token>();
  readonly #countMax: number;
  readonly #bytesMax: number;
  #keys: KeySet | undefined;

  constructor(config: JwtCacheConfig | undefined) {
    this.#countMax = Math.min(config?.jwtCacheSize || tokensDefault, tokensMax);
    this.#bytesMax = config?.jwtMaxTokenSize || tokenBytesDefault;
  }

  /** What that text says, whoever has signed it; undefined where it has to be read first. */
  read(text: string): Token | undefined {
    return this.#tokens.get(text);
  }

  /** Whether one of those keys has signed it. */
  has(text: string, keys: KeySet): boolean {
    if (keys !== this.#keys) {
      this.#tokens.clear();
      this.#keys = keys;
    }
    const token = this.#tokens.get(text);
    if (token === undefined) return false;
    // The one used last is last.
    this.#tokens.delete(text);
    this.#tokens.set(text, token);
    return true;
  }

  /** After `has()` with the keys that have signed it. */
  add(text: string, token: Token): void {
    if (text.length > this.#bytesMax) return;
    if (this.#tokens.size >= this.#countMax) {
      const [oldest] = this.#tokens.keys();
      if (oldest !== undefined) this.#tokens.delete(oldest);
    }
    this.#tokens.set(text, token);
  }
}
