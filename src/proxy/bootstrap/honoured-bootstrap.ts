/** Which fields of a bootstrap are honoured. What has no meaning here and is let pass says why. */
import type { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import type { Secret } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/secret.ts";
import { checkHonoured, type Honoured } from "../config/honoured.ts";
import { RefusalList } from "../engine/refusal.ts";
import { extensionType } from "./extension-type.ts";
import { internalListenerType } from "./internal-buffer.ts";

export const honouredBootstrap: Honoured<Bootstrap> = {
  node: true,
  // Each resource is checked by whoever compiles it.
  staticResources: { listeners: true, clusters: true, secrets: true },
  clusterManager: { localClusterName: true },
  dynamicResources: { ldsConfig: true, cdsConfig: true, adsConfig: true },
  admin: {
    address: true,
    // Only to /dev/null: requests for the admin interface are not logged.
    accessLog: true,
    // There is no CPU profiler to write it.
    profilePath: true,
  },
  layeredRuntime: { layers: { name: true, staticLayer: true, adminLayer: true } },
  // Which names and labels Envoy's own series get: ours are fixed, and have Istio's labels.
  statsConfig: true,
  // Series are read when they are asked for; idle ones expire by a rule of their own.
  statsFlushInterval: true,
  statsFlushOnAdmin: true,
  statsEvictionInterval: true,
  statsServerVersionOverride: "absent",
  // The form of Envoy's own log; the command has --log-format.
  applicationLogConfig: true,
  bootstrapExtensions: true,
  // Names are resolved by the machine's own resolver.
  typedDnsResolverConfig: true,
  // Of data workers; nobody watches over the thread that watches.
  watchdogs: { workerWatchdog: { missTimeout: true, megamissTimeout: true, killTimeout: true } },
  // The only one there is.
  defaultSocketInterface: true,
  // Checked by its own compiler.
  overloadManager: true,
};

export const honouredSecret: Honoured<Secret> = {
  name: true,
  tlsCertificate: { certificateChain: true, privateKey: true },
  validationContext: {
    trustedCa: true,
    crl: true,
    requireSignedCertificateTimestamp: "zero",
    maxVerifyDepth: "absent",
  },
  sessionTicketKeys: true,
};

/** Extensions that only prepare what other resources may ask for, which are refused there. */
const extensions: ReadonlySet<string> = new Set([
  internalListenerType,
  "istio.workload.BootstrapExtension",
]);

/** Keys of a runtime that change nothing here; undefined values mean any. */
const runtimeKeys: readonly {
  readonly key: RegExp;
  readonly values?: (value: unknown) => boolean;
}[] = [
  // Patterns have a limit of their own and run in linear time.
  { key: /^re2\.max_program_size\./ },
  { key: /^envoy\.deprecated_features:/ },
  // How Envoy counts memory, gathers updates and speaks gRPC with its other library.
  {
    key: /^envoy\.reloadable_features\.(fixed_heap_use_allocated|coalesce_lb_rebuilds_on_batch_update|google_grpc_disable_tls_13)$/,
  },
  { key: /^envoy\.restart_features\.use_eds_cache_for_ads$/ },
  // A fragment in a request's path is refused, as Envoy does by default: stricter than asked.
  { key: /^envoy\.reloadable_features\.http_reject_path_with_fragment$/ },
  {
    key: /^overload\.global_downstream_max_connections$/,
    values: (value) => Number(value) >= 2_147_483_647,
  },
];

/** Throws a refusal that names every field without effect. */
export function checkBootstrap(bootstrap: Bootstrap): void {
  const refusals = new RefusalList();
  refusals.attempt(() => checkHonoured(bootstrap, honouredBootstrap, "", { count: 0 }));
  for (const [i, layer] of (bootstrap.layeredRuntime?.layers ?? []).entries()) {
    for (const [key, value] of Object.entries(layer.staticLayer ?? {})) {
      const known = runtimeKeys.find((one) => one.key.test(key));
      if (known !== undefined && known.values?.(value) !== false) continue;
      refusals.add(`layered_runtime.layers[${i}].static_layer.${key}`, "is not supported");
    }
  }
  for (const [i, { typedConfig, name }] of bootstrap.bootstrapExtensions.entries()) {
    const type = extensionType(typedConfig);
    if (extensions.has(type)) continue;
    refusals.add(`bootstrap_extensions[${i}]`, `'${type || name}' is not supported`);
  }
  for (const [i, { typedConfig, name }] of (bootstrap.admin?.accessLog ?? []).entries()) {
    // The path of a file logger is its first field.
    if (Buffer.from(typedConfig?.value ?? []).includes("/dev/null")) continue;
    refusals.add(`admin.access_log[${i}]`, `'${name}' is not supported: only a file, /dev/null`);
  }
  refusals.throwIfAny();
}
