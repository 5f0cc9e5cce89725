/**
 * Compiles a RouteConfiguration into the table that decides where each request goes. It works on
 * the encoded message, so that what a push did not change is neither decoded nor compiled again.
 */
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import { splittingMessage } from "../../wire/protobuf-split.ts";
import { compileFilterOverrides, type FilterOverrideCompilers } from "./filter-overrides.ts";
import { compileHeaderLevel } from "./header-operations.ts";
import { RefusalList } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { compileMirrors } from "./mirrors.ts";
import { pathOf } from "./request-path.ts";
import type { RouteOutcome, RouteTable } from "./route-table.ts";
import {
  CompiledVirtualHost,
  hashBytes,
  type HostChecks,
  notFound,
  type TableSettings,
} from "./virtual-host.ts";
import { type DomainTable, DomainTableBuilder } from "./virtual-hosts.ts";

/** Called with what is decoded to be checked, virtual hosts and routes apart; throws a refusal. */
export interface RouteChecks extends HostChecks {
  table(config: RouteConfiguration): void;
}

export interface RouteTableOptions {
  readonly overrides: FilterOverrideCompilers;
  /** What else is asked of the messages; `trusted`: they were checked already, elsewhere. */
  readonly checks?: RouteChecks | "trusted";
  /** The version before: its virtual hosts are kept where they did not change. */
  readonly before?: RouteTable | undefined;
  /** False: closures, also where code may be generated. */
  readonly generatesCode?: boolean;
  /** Around what is compiled because a request needs it: measures it. */
  readonly measured?: (work: () => void) => void;
  /** Names the table among all that the proxy has; its own name unless told. */
  readonly owner?: string;
}

/** The result at once; for small tables, tests and tools. Throws a refusal (`xds.refused`). */
export function compileRouteConfiguration(
  config: RouteConfiguration,
  overrides: FilterOverrideCompilers,
  options: Omit<RouteTableOptions, "overrides"> = {},
): RouteTable {
  const work = compileRoutes(RouteConfiguration.encode(config).finish(), { ...options, overrides });
  let step = work.next();
  while (step.done !== true) step = work.next();
  return step.value;
}

const virtualHostsField = 2;

/**
 * Gives way after every small piece of work, and throws a refusal that names the field which cannot
 * be honoured. Keeps `bytes`.
 */
export function* compileRoutes(
  bytes: Uint8Array,
  options: RouteTableOptions,
): Generator<void, RouteTable> {
  const { parts, rest } = yield* splittingMessage(bytes, virtualHostsField);
  const before = options.before instanceof CompiledTable ? options.before : undefined;
  const config = RouteConfiguration.decode(rest);
  const refusals = new RefusalList();
  const checks = options.checks === "trusted" ? undefined : (options.checks ?? noChecks);
  refusals.attempt(() => checks?.table(config));
  const kept = before?.keptBy(rest, options);
  const settings = kept ?? refusals.attempt(() => settingsOf(config, options));
  if (settings === undefined) {
    refusals.throwIfAny();
    throw new Error("a table without settings was refused");
  }
  const table = new CompiledTable(config.name, settings, rest);
  for (let i = 0; i < parts.length; i += 2) {
    yield;
    const hostBytes = bytes.subarray(parts[i], parts[i + 1]);
    const hash = hashBytes(hostBytes);
    const path = `virtual_hosts[${i / 2}]`;
    const unchanged = kept === undefined ? undefined : before?.take(hash, hostBytes);
    const host =
      unchanged ??
      (yield* CompiledVirtualHost.make({ bytes: hostBytes, hash, path }, settings, {
        checks,
        refusals,
      }));
    refusals.attempt(() => table.add(host, path));
    if (refusals.isFull) break;
  }
  refusals.throwIfAny();
  table.seal(config.ignorePortInHostMatching);
  return table;
}

const noChecks: RouteChecks = {
  table: () => undefined,
  host: () => undefined,
  route: () => undefined,
};

function settingsOf(config: RouteConfiguration, options: RouteTableOptions): TableSettings {
  const { overrides, generatesCode = true, owner = config.name } = options;
  return {
    owner,
    level: {
      headers: compileHeaderLevel(config, ""),
      filters: compileFilterOverrides(config.typedPerFilterConfig, overrides, "", owner),
      mirrors: compileMirrors(config.requestMirrorPolicies, "request_mirror_policies"),
    },
    overrides,
    directResponseBytesMax: config.maxDirectResponseBodySizeBytes ?? 4096,
    isReversed: config.mostSpecificHeaderMutationsWins,
    generatesCode,
    measured: options.measured ?? ((work) => work()),
  };
}

class CompiledTable implements RouteTable {
  readonly name: string;
  readonly #settings: TableSettings;
  /** The message without its virtual hosts. */
  readonly #rest: Uint8Array;
  /** By the hash of their bytes. Two of equal bytes would have the same domains. */
  readonly #hosts = new Map<number, CompiledVirtualHost>();
  readonly #builder = new DomainTableBuilder<CompiledVirtualHost>();
  #domains: DomainTable<CompiledVirtualHost> | undefined;

  constructor(name: string, settings: TableSettings, rest: Uint8Array) {
    this.name = name;
    this.#settings = settings;
    this.#rest = rest;
  }

  /** Throws a refusal. */
  add(host: CompiledVirtualHost, path: string): void {
    this.#builder.add({ domains: host.domains, value: host, path });
    this.#hosts.set(host.hash, host);
  }

  seal(ignorePort: boolean): void {
    this.#domains = this.#builder.build(ignorePort);
  }

  resolve(request: RequestView, random: () => number): RouteOutcome {
    const host = this.#domains?.find(request.authority);
    return host === undefined ? notFound : host.resolve(request, pathOf(request.path), random);
  }

  /** This table's settings, where virtual hosts of a table with `rest` would have the same. */
  keptBy(rest: Uint8Array, options: RouteTableOptions): TableSettings | undefined {
    const { overrides, generatesCode = true } = options;
    const settings = this.#settings;
    if (settings.overrides !== overrides || settings.generatesCode !== generatesCode) {
      return undefined;
    }
    return isEqual(this.#rest, rest) ? settings : undefined;
  }

  /** The virtual host of these bytes. */
  take(hash: number, bytes: Uint8Array): CompiledVirtualHost | undefined {
    const host = this.#hosts.get(hash);
    return host?.takeOver(bytes) === true ? host : undefined;
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
