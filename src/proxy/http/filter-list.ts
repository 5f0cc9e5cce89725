/**
 * The filters of a connection manager as they are now. Where some are configured by name (ECDS), they are
 * made anew when what stands under the name changes; a stream keeps those it began with.
 */
import type { Logger } from "../../telemetry/logger.ts";
import { messageOf } from "../../base/error.ts";
import type { Any } from "../../wire/gen/ts/google/protobuf/any.ts";
import type { ProxyContext } from "../context.ts";
import { joinPreparations, type Preparation } from "../preparation.ts";
import type { HttpFilter } from "./filter.ts";

export interface FilterList {
  readonly list: readonly HttpFilter[];
  readonly preparation?: Preparation | undefined;
}

/** One place in the chain. */
export type FilterSlot =
  | { readonly kind: "fixed"; readonly filters: readonly HttpFilter[] }
  | {
      readonly kind: "named";
      readonly name: string;
      /** What may stand there. */
      readonly typeUrls: ReadonlySet<string>;
      /** While nothing stands under the name. */
      readonly fallback: readonly HttpFilter[];
      /** Throws a refusal. */
      readonly compile: (config: Any) => readonly HttpFilter[];
    };

export type ExtensionSource = NonNullable<ProxyContext["extensions"]>;

export function createFilterList(
  slots: readonly FilterSlot[],
  extensions: ExtensionSource | undefined,
  log: Logger,
): FilterList {
  if (slots.every(({ kind }) => kind === "fixed")) {
    const list = slots.flatMap((slot) => (slot.kind === "fixed" ? slot.filters : []));
    return { list, preparation: preparationOf(list) };
  }
  return new NamedFilters(slots, extensions ?? { version: 0, get: () => undefined }, log);
}

function preparationOf(filters: readonly HttpFilter[]): Preparation | undefined {
  return joinPreparations(filters.map(({ preparation }) => preparation));
}

interface Made {
  readonly config: Any | undefined;
  readonly filters: readonly HttpFilter[];
}

class NamedFilters implements FilterList {
  readonly #slots: readonly FilterSlot[];
  readonly #extensions: ExtensionSource;
  readonly #log: Logger;
  readonly #made = new Map<FilterSlot, Made>();
  #version: number | undefined;
  #list: readonly HttpFilter[] = [];
  #hasBegun = false;
  readonly preparation: Preparation = {
    begin: (onBegun) => {
      this.#hasBegun = true;
      return preparationOf(this.list)?.begin(onBegun) === true;
    },
    end: () => {
      this.#hasBegun = false;
      preparationOf(this.#list)?.end();
    },
  };

  constructor(slots: readonly FilterSlot[], extensions: ExtensionSource, log: Logger) {
    this.#slots = slots;
    this.#extensions = extensions;
    this.#log = log;
  }

  get list(): readonly HttpFilter[] {
    const { version } = this.#extensions;
    if (version !== this.#version) {
      this.#version = version;
      this.#list = this.#slots.flatMap((slot) => this.#filtersOf(slot));
    }
    return this.#list;
  }

  /** What has not changed stays, with all that it remembers. */
  #filtersOf(slot: FilterSlot): readonly HttpFilter[] {
    if (slot.kind === "fixed") return slot.filters;
    const found = this.#extensions.get(slot.name);
    const config = found !== undefined && slot.typeUrls.has(found.typeUrl) ? found : undefined;
    const made = this.#made.get(slot);
    if (made !== undefined && made.config === config) return made.filters;
    const filters = config === undefined ? slot.fallback : this.#compile(slot, config, made);
    this.#made.set(slot, { config, filters });
    if (made !== undefined && made.filters !== filters) preparationOf(made.filters)?.end();
    // What comes while requests do waits for nothing.
    if (this.#hasBegun) preparationOf(filters)?.begin(() => undefined);
    return filters;
  }

  /** It was checked when it came; should it be refused here nevertheless, what was there goes on. */
  #compile(
    slot: Extract<FilterSlot, { kind: "named" }>,
    config: Any,
    made: Made | undefined,
  ): readonly HttpFilter[] {
    try {
      return slot.compile(config);
    } catch (thrown) {
      this.#log.error("a filter cannot be made of its configuration", {
        filter: slot.name,
        reason: messageOf(thrown),
      });
      return made?.filters ?? slot.fallback;
    }
  }
}

/** Answers for a filter of which nobody has said what it shall do. */
export function missingFilter(name: string): HttpFilter {
  return {
    name,
    onRequest(stream) {
      stream.reply("filter-missing");
      return "answered";
    },
  };
}
