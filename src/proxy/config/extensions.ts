/** Configurations of filters that came by name (ECDS): what connection managers make their filters of. */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Any } from "../../wire/gen/ts/google/protobuf/any.ts";
import { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import { refuse } from "../engine/refusal.ts";

/** What a listener asks of a name. */
export interface ExtensionNeed {
  readonly name: string;
  readonly typeUrls: ReadonlySet<string>;
  /** The listener does not serve before it is known what stands under the name. */
  readonly waits: boolean;
  /** How long it does so at most; 0 is without end. */
  readonly waitMs: number;
}

export class Extensions {
  /** Grows with every change. */
  version = 0;
  /** Nobody has said in time what stands under a name. */
  onGivenUp: () => void = () => {};
  readonly #configs = new Map<string, Any>();
  /** Names under which nothing stands, as whoever would know has said. */
  readonly #absent = new Set<string>();
  readonly #waits = new Map<string, Timer>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(name: string): Any | undefined {
    return this.#configs.get(name);
  }

  /** What is waited for, in words. */
  missing(needs: readonly ExtensionNeed[]): readonly string[] {
    return needs
      .filter(({ name, waits }) => waits && !this.#isKnown(name))
      .map(({ name }) => `filter ${name}`);
  }

  /** Whether it is known what stands under the name, if anything. */
  #isKnown(name: string): boolean {
    return this.#configs.has(name) || this.#absent.has(name);
  }

  get absent(): readonly string[] {
    return [...this.#absent];
  }

  set(name: string, config: Any): void {
    this.#absent.delete(name);
    this.#configs.set(name, config);
    this.#settle(name);
  }

  remove(name: string): void {
    this.#configs.delete(name);
    this.#absent.add(name);
    this.#settle(name);
  }

  /** What is asked for from now on. `isAll`: names that nobody asks for any more are forgotten. */
  follow(
    needs: readonly ExtensionNeed[],
    isAll: boolean,
  ): { readonly wanted: ReadonlySet<string>; readonly gone: readonly string[] } {
    const wanted = new Set(needs.map(({ name }) => name));
    this.#await(needs);
    return { wanted, gone: isAll ? this.#keepOnly(wanted) : [] };
  }

  #await(needs: readonly ExtensionNeed[]): void {
    for (const { name, waits, waitMs } of needs) {
      if (!waits || waitMs === 0 || this.#isKnown(name) || this.#waits.has(name)) continue;
      const wait = this.#clock.schedule(waitMs, () => {
        this.remove(name);
        this.onGivenUp();
      });
      this.#waits.set(name, wait);
    }
  }

  close(): void {
    for (const wait of this.#waits.values()) wait.cancel();
  }

  #settle(name: string): void {
    this.#endWait(name);
    this.version++;
  }

  #endWait(name: string): void {
    this.#waits.get(name)?.cancel();
    this.#waits.delete(name);
  }

  #keepOnly(names: ReadonlySet<string>): readonly string[] {
    const known = [...this.#configs.keys(), ...this.#absent, ...this.#waits.keys()];
    const gone = known.filter((name) => !names.has(name));
    for (const name of gone) {
      this.#configs.delete(name);
      this.#absent.delete(name);
      this.#endWait(name);
    }
    return gone;
  }
}

/** Throws a refusal. `needs`: of all who have asked for names. */
export function readExtension(
  { name, bytes }: { readonly name: string; readonly bytes: Uint8Array },
  needs: readonly ExtensionNeed[],
): Any {
  const config = TypedExtensionConfig.decode(bytes);
  if (config.name !== name) refuse("name", `'${config.name}' is not the name of the resource`);
  const { typedConfig } = config;
  if (typedConfig === undefined) return refuse("typed_config", "is missing");
  for (const need of needs) {
    if (need.name !== name || need.typeUrls.has(typedConfig.typeUrl)) continue;
    const wanted = [...need.typeUrls].join(", ");
    refuse("typed_config", `'${typedConfig.typeUrl}' is not what a listener takes (${wanted})`);
  }
  return typedConfig;
}
