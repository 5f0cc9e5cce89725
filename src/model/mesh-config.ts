/**
 * MeshConfig: what holds for the whole mesh, the `meshConfig` block of heddle.yaml. Every field that
 * Istio knows is known here; most are not honoured yet and say so.
 */
import type { Problem, SourcePosition } from "../base/problem.ts";
import type { HttpRetry } from "./http-action.ts";
import { httpRetry } from "./http-action.ts";
import { duration, flag, nonEmptyText, number, oneOf, portNumber, text } from "./scalar-types.ts";
import type { Complaint, Type, Unhonoured } from "./schema.ts";
import { Findings, list, object, Place } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";

/** Normalised: every default is filled in. */
export interface MeshSettings {
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly isAutoMtlsEnabled: boolean;
  /** Undefined or empty: no access log. */
  readonly accessLogFile: string | undefined;
  readonly accessLogEncoding: "TEXT" | "JSON";
  /** Undefined: Istio's format. */
  readonly accessLogFormat: string | undefined;
  readonly connectTimeoutMs: number;
  /**
   * How long to wait for the first bytes where the protocol must be detected; 0 waits for ever. Undefined:
   * as the data plane can afford.
   */
  readonly protocolDetectionTimeoutMs: number | undefined;
  readonly pathNormalization: PathNormalization;
  /** Undefined: Istio's default, 2 attempts. */
  readonly defaultRetry: HttpRetry | undefined;
  readonly tracing: TracingSettings | undefined;
  readonly dnsRefreshMs: number;
  /** Whether ports of HTTP/1.1 are asked over HTTP/2 where no DestinationRule says. */
  readonly upgradesToHttp2: boolean;
}

export type PathNormalization = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";

export interface TracingSettings {
  /** Of requests, 0 to 100. */
  readonly samplingPercent: number;
  /** Host of the collector's service, and its port. */
  readonly service: string;
  readonly port: number;
  /** Path for OTLP over HTTP. */
  readonly path: string;
  readonly timeoutMs: number;
  /** Where the provider is written, for who finds that its service does not exist. */
  readonly source?: SourcePosition;
}

export const defaultMeshSettings: MeshSettings = {
  trustDomain: "cluster.local",
  rootNamespace: "istio-system",
  outboundTrafficPolicy: "ALLOW_ANY",
  isAutoMtlsEnabled: true,
  accessLogFile: undefined,
  accessLogEncoding: "TEXT",
  accessLogFormat: undefined,
  connectTimeoutMs: 10_000,
  protocolDetectionTimeoutMs: undefined,
  pathNormalization: "BASE",
  defaultRetry: undefined,
  tracing: undefined,
  dnsRefreshMs: 60_000,
  upgradesToHttp2: false,
};

interface RawMeshConfig {
  readonly trustDomain?: string;
  readonly rootNamespace?: string;
  readonly outboundTrafficPolicy?: { readonly mode?: "ALLOW_ANY" | "REGISTRY_ONLY" };
  readonly enableAutoMtls?: boolean;
  readonly accessLogFile?: string;
  readonly accessLogEncoding?: "TEXT" | "JSON";
  readonly accessLogFormat?: string;
  readonly connectTimeout?: number;
  readonly protocolDetectionTimeout?: number;
  readonly pathNormalization?: { readonly normalization?: "DEFAULT" | PathNormalization };
  readonly defaultHttpRetryPolicy?: HttpRetry;
  readonly enableTracing?: boolean;
  readonly defaultConfig?: { readonly tracing?: { readonly sampling?: number } };
  readonly extensionProviders?: readonly ExtensionProvider[];
  readonly defaultProviders?: { readonly tracing?: readonly string[] };
  readonly dnsRefreshRate?: number;
  readonly enablePrometheusMerge?: boolean;
  readonly h2UpgradePolicy?: "DO_NOT_UPGRADE" | "UPGRADE";
}

interface ExtensionProvider {
  readonly name: string;
  /** Absent where another sort of provider was written, which is refused. */
  readonly opentelemetry?: {
    readonly service: string;
    readonly port: number;
    readonly http?: { readonly path?: string; readonly timeout?: number };
  };
}

const acts = (effect: string): Unhonoured => ({ effect, rest: "acts" });
const stops = (effect: string): Unhonoured => ({ effect, rest: "stops" });

const extensionProvider: Type<ExtensionProvider> = object<ExtensionProvider>(
  {
    name: nonEmptyText,
    opentelemetry: object<NonNullable<ExtensionProvider["opentelemetry"]>>(
      {
        service: nonEmptyText,
        port: portNumber,
        http: object<{ readonly path?: string; readonly timeout?: number }>(
          { path: nonEmptyText, timeout: duration({ minMs: 1 }) },
          { unhonoured: { headers: acts("adds headers to exported spans") } },
        ),
      },
      {
        required: ["service", "port"],
        unhonoured: {
          maxTagLength: acts("shortens tags"),
          grpc: acts("exports over gRPC; OTLP over HTTP is used"),
          resourceDetectors: acts("adds attributes of the environment"),
          dynatraceSampler: acts("samples as Dynatrace says"),
          serviceAttributeEnrichment: acts("adds service attributes"),
        },
      },
    ),
  },
  {
    required: ["name", "opentelemetry"],
    unhonoured: Object.fromEntries(
      (
        "zipkin datadog stackdriver skywalking prometheus envoyFileAccessLog envoyHttpAls " +
        "envoyTcpAls envoyOtelAls sds envoyExtAuthzHttp envoyExtAuthzGrpc lightstep opencensus"
      )
        .split(" ")
        .map((name) => [
          name,
          {
            ...acts("sends telemetry or asks for decisions elsewhere"),
            replaces: ["opentelemetry"],
          },
        ]),
    ),
  },
);

const laterFields: Readonly<Record<string, Unhonoured>> = {
  ...Object.fromEntries(
    (
      "proxyListenPort proxyInboundListenPort proxyHttpPort hboneIdleTimeout tcpKeepalive " +
      "ingressClass ingressService ingressControllerMode ingressSelector disableEnvoyListenerLog " +
      "inboundTrafficPolicy configSources localityLbSetting zoneAwareLbSetting " +
      "inboundClusterStatName outboundClusterStatName serviceSettings serviceScopeConfigs " +
      "discoverySelectors defaultTrafficPolicy defaultInboundHttpRetryPolicy tlsDefaults"
    )
      .split(" ")
      .map((name) => [name, acts("changes a default of the mesh")]),
  ),
  defaultServiceExportTo: stops("limits who sees services"),
  defaultVirtualServiceExportTo: stops("limits who sees VirtualServices"),
  defaultDestinationRuleExportTo: stops("limits who sees DestinationRules"),
  serviceEntryVisibility: stops("limits who sees ServiceEntries"),
  trustDomainAliases: stops("accepts identities of other trust domains"),
  caCertificates: stops("trusts further roots"),
  ca: stops("asks another certificate authority"),
  meshMTLS: stops("sets TLS parameters between proxies"),
};

const later = (effect: string, names: string): Readonly<Record<string, Unhonoured>> =>
  Object.fromEntries(names.split(" ").map((name) => [name, acts(effect)]));

const proxyConfig: Type<{ readonly tracing?: { readonly sampling?: number } }> = object<{
  readonly tracing?: { readonly sampling?: number };
}>(
  {
    tracing: object<{ readonly sampling?: number }>(
      { sampling: number({ min: 0, max: 100 }) },
      {
        unhonoured: later(
          "sets up tracing",
          "zipkin datadog lightstep openCensusAgent customTags maxPathTagLength tlsSettings enableIstioTags stackdriver",
        ),
      },
    ),
  },
  {
    unhonoured: later(
      "configures proxies",
      "discoveryAddress drainDuration terminationDrainDuration concurrency statusPort " +
        "tracingServiceName interceptionMode proxyMetadata runtimeValues gatewayTopology meshId " +
        "readinessProbe proxyStatsMatcher holdApplicationUntilProxyStarts caCertificatesPem image " +
        "privateKeyProvider proxyHeaders fileFlushInterval fileFlushMinSizeKb statsCompression " +
        "connectionSettings",
    ),
  },
);

const meshConfig: Type<RawMeshConfig> = object<RawMeshConfig>(
  {
    trustDomain: nonEmptyText,
    rootNamespace: nonEmptyText,
    outboundTrafficPolicy: object<NonNullable<RawMeshConfig["outboundTrafficPolicy"]>>(
      { mode: oneOf("ALLOW_ANY", "REGISTRY_ONLY") },
      { unhonoured: { tls: acts("originates TLS to unknown destinations") } },
    ),
    enableAutoMtls: flag,
    accessLogFile: text,
    accessLogEncoding: oneOf("TEXT", "JSON"),
    accessLogFormat: text,
    connectTimeout: duration({ minMs: 1 }),
    protocolDetectionTimeout: duration(),
    pathNormalization: object<NonNullable<RawMeshConfig["pathNormalization"]>>({
      normalization: oneOf("DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"),
    }),
    defaultHttpRetryPolicy: httpRetry,
    enableTracing: flag,
    defaultConfig: proxyConfig,
    extensionProviders: list(extensionProvider),
    defaultProviders: object<{ readonly tracing?: readonly string[] }>(
      { tracing: list(nonEmptyText) },
      { unhonoured: later("chooses providers", "metrics accessLogging") },
    ),
    dnsRefreshRate: duration({ minMs: 1000 }),
    enablePrometheusMerge: flag,
    h2UpgradePolicy: oneOf("DO_NOT_UPGRADE", "UPGRADE"),
  },
  { unhonoured: laterFields },
);

export interface ParsedMeshConfig {
  /** The defaults where nothing, or nothing sound, was written. */
  readonly settings: MeshSettings;
  /** False when something was written that cannot be honoured: keep the last good settings. */
  readonly isSound: boolean;
  readonly problems: readonly Problem[];
}

/** Reads a `meshConfig` block; `defaults` come from the command line or an earlier file. */
export function parseMeshConfig(
  node: YamlNode | undefined,
  defaults: MeshSettings = defaultMeshSettings,
): ParsedMeshConfig {
  if (node === undefined) return { settings: defaults, isSound: true, problems: [] };
  const findings = new Findings();
  const place = new Place(findings, "meshConfig");
  const raw = meshConfig.decode(node, place);
  if (raw === undefined) return { settings: defaults, isSound: false, problems: findings.problems };
  const settings = toSettings(raw, { defaults, node, place });
  const isSound = findings.isSound;
  return { settings: isSound ? settings : defaults, isSound, problems: findings.problems };
}

interface Context {
  readonly defaults: MeshSettings;
  readonly node: YamlNode;
  readonly place: Place;
}

function toSettings(raw: RawMeshConfig, context: Context): MeshSettings {
  const { defaults, node, place } = context;
  const normalization = raw.pathNormalization?.normalization ?? "DEFAULT";
  return {
    trustDomain: raw.trustDomain ?? defaults.trustDomain,
    rootNamespace: raw.rootNamespace ?? defaults.rootNamespace,
    outboundTrafficPolicy: raw.outboundTrafficPolicy?.mode ?? defaults.outboundTrafficPolicy,
    isAutoMtlsEnabled: raw.enableAutoMtls ?? defaults.isAutoMtlsEnabled,
    accessLogFile: raw.accessLogFile ?? defaults.accessLogFile,
    accessLogEncoding: raw.accessLogEncoding ?? defaults.accessLogEncoding,
    accessLogFormat: accessLogFormat(raw, context),
    connectTimeoutMs: raw.connectTimeout ?? defaults.connectTimeoutMs,
    protocolDetectionTimeoutMs: raw.protocolDetectionTimeout ?? defaults.protocolDetectionTimeoutMs,
    pathNormalization: normalization === "DEFAULT" ? "BASE" : normalization,
    defaultRetry: raw.defaultHttpRetryPolicy ?? defaults.defaultRetry,
    tracing: tracingSettings(raw, node, place),
    dnsRefreshMs: raw.dnsRefreshRate ?? defaults.dnsRefreshMs,
    upgradesToHttp2:
      raw.h2UpgradePolicy === undefined
        ? defaults.upgradesToHttp2
        : raw.h2UpgradePolicy === "UPGRADE",
  };
}

/** A written JSON format is an object of formats; without a sound one, logs have Istio's. */
function accessLogFormat(
  raw: RawMeshConfig,
  { defaults, node, place }: Context,
): string | undefined {
  const { accessLogFormat: written = "" } = raw;
  if (written === "") return undefined;
  const encoding = raw.accessLogEncoding ?? defaults.accessLogEncoding;
  if (encoding === "TEXT" || isJsonObject(written)) return written;
  const at = place.field("accessLogFormat");
  at.complain(place.findings.positions.get(at.path) ?? node.position, {
    code: "meshconfig.bad-access-log-format",
    message: "with accessLogEncoding JSON the format must be a JSON object; Istio's is used",
    hint: 'write an object of formats, like {"status": "%RESPONSE_CODE%"}, or accessLogEncoding: TEXT',
    isSeparable: true,
  });
  return undefined;
}

function isJsonObject(written: string): boolean {
  try {
    const parsed: unknown = JSON.parse(written);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
  } catch {
    return false;
  }
}

/** A provider that is named is used, as in Istio; `enableTracing` alone takes the first one. */
function tracingSettings(
  raw: RawMeshConfig,
  node: YamlNode,
  place: Place,
): TracingSettings | undefined {
  const providers = raw.extensionProviders ?? [];
  const [wanted, ...others] = raw.defaultProviders?.tracing ?? [];
  const complain = (field: string, complaint: Complaint): undefined => {
    const at = new Place(place.findings, `${place.path}.${field}`);
    const position = place.findings.positions.get(at.path) ?? node.position;
    return at.complain(position, { ...complaint, isSeparable: true });
  };
  if (others.length > 0) {
    const message = `spans go to one provider, ${wanted}; ${others.join(", ")} gets none`;
    complain("defaultProviders.tracing[1]", { code: "config.not-honoured", message });
  }
  if (raw.enableTracing === false || (wanted === undefined && raw.enableTracing !== true)) {
    if (wanted === undefined) return undefined;
    const message = `enableTracing is false, so ${wanted} gets no spans`;
    const code = "config.no-effect";
    return complain("defaultProviders.tracing[0]", { code, severity: "warning", message });
  }
  const provider =
    wanted === undefined ? providers[0] : providers.find((one) => one.name === wanted);
  if (provider?.opentelemetry === undefined) {
    const [field, message] =
      wanted === undefined
        ? ["enableTracing", "enableTracing needs an extensionProviders entry with opentelemetry"]
        : [
            "defaultProviders.tracing[0]",
            `no spans are sent: extensionProviders has no ${wanted} with opentelemetry`,
          ];
    return complain(field, { code: "meshconfig.no-tracing-provider", message });
  }
  const { service, port, http } = provider.opentelemetry;
  const at = `${place.path}.extensionProviders[${providers.indexOf(provider)}]`;
  const source = place.findings.positions.get(`${at}.opentelemetry.service`);
  return {
    samplingPercent: raw.defaultConfig?.tracing?.sampling ?? 1,
    // Istio's form of a service is `[<Namespace>/]<Hostname>`.
    service: service.includes("/") ? service.slice(service.indexOf("/") + 1) : service,
    port,
    path: http?.path ?? "/v1/traces",
    timeoutMs: http?.timeout ?? 10_000,
    ...(source === undefined ? {} : { source }),
  };
}
