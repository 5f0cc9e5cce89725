/**
 * `/config_dump`: the resources as they were accepted, in Envoy's JSON. Reflection is loaded at the
 * first request only, since a proxy that is never asked needs none of it.
 */
import type { DescMessage, JsonValue } from "@bufbuild/protobuf";

import type { SecretSource, TlsSecret } from "../../net/secret-source.ts";
import { typeUrls } from "../../xds/feed.ts";
import type { AppliedResource, RefusedResource } from "../config/applied-resources.ts";
import type { Configuration } from "../config.ts";

interface DumpSource {
  readonly configuration: Configuration;
  readonly secrets: SecretSource;
  readonly bootstrap: ProxyBootstrap | undefined;
}

/** What a data plane was started with. */
export interface ProxyBootstrap {
  /** `static`: its resources stand in the file itself; `dynamic`: they come from a control plane. */
  readonly kind: "static" | "dynamic";
  /** Envoy's Bootstrap message in JSON. */
  readonly json: JsonValue;
}

interface Section {
  readonly type: string;
  readonly list: string;
  /** Where it stands when it came with the bootstrap. */
  readonly staticList: string;
  readonly key: string;
  readonly typeUrl: string;
  /** Listeners hold their message one level deeper. */
  readonly isNested: boolean;
}

const sections: readonly Section[] = [
  {
    type: "ClustersConfigDump",
    list: "dynamic_active_clusters",
    staticList: "static_clusters",
    key: "cluster",
    typeUrl: typeUrls.cluster,
    isNested: false,
  },
  {
    type: "EndpointsConfigDump",
    list: "dynamic_endpoint_configs",
    staticList: "static_endpoint_configs",
    key: "endpoint_config",
    typeUrl: typeUrls.endpoint,
    isNested: false,
  },
  {
    type: "ListenersConfigDump",
    list: "dynamic_listeners",
    staticList: "static_listeners",
    key: "listener",
    typeUrl: typeUrls.listener,
    isNested: true,
  },
  {
    type: "RoutesConfigDump",
    list: "dynamic_route_configs",
    staticList: "static_route_configs",
    key: "route_config",
    typeUrl: typeUrls.route,
    isNested: false,
  },
  {
    type: "EcdsConfigDump",
    list: "ecds_filters",
    staticList: "ecds_filters",
    key: "ecds_filter",
    typeUrl: typeUrls.extension,
    isNested: false,
  },
];

type Decode = (typeUrl: string, bytes: Uint8Array) => JsonValue;

/** `?include_eds` adds endpoints, `?resource=dynamic_listeners` shows one section's entries. */
export async function dumpConfig(source: DumpSource, query: URLSearchParams): Promise<JsonValue> {
  const decode = await loadDecoder();
  const wanted = query.get("resource");
  const configs: JsonValue[] = [];
  const add = (type: string, list: string, entries: () => JsonValue[]): void => {
    if (wanted === list) configs.push(...entries());
    if (wanted !== null) return;
    configs.push({ "@type": `type.googleapis.com/envoy.admin.v3.${type}`, [list]: entries() });
  };
  const { bootstrap, configuration } = source;
  if (bootstrap !== undefined && (wanted === null || wanted === "bootstrap")) {
    const shown = redact(bootstrap.json);
    const type = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump";
    configs.push(wanted === null ? { "@type": type, bootstrap: shown } : shown);
  }
  const isStatic = bootstrap?.kind === "static";
  for (const section of sections) {
    const isEndpoints = section.typeUrl === typeUrls.endpoint;
    if (isEndpoints && wanted === null && !query.has("include_eds")) continue;
    add(section.type, isStatic ? section.staticList : section.list, () =>
      dumpEntries(
        { ...section, isNested: section.isNested && !isStatic },
        {
          accepted: configuration.applied.accepted(section.typeUrl),
          refused: configuration.applied.refused(section.typeUrl),
          decode,
        },
      ),
    );
  }
  add("SecretsConfigDump", isStatic ? "static_secrets" : "dynamic_active_secrets", () =>
    dumpSecrets(source),
  );
  return { configs };
}

function dumpEntries(
  section: Section,
  resources: {
    readonly accepted: readonly AppliedResource[];
    readonly refused: readonly RefusedResource[];
    readonly decode: Decode;
  },
): JsonValue[] {
  const refusedByName = new Map(resources.refused.map((entry) => [entry.resource.name, entry]));
  const entries = resources.accepted.map(({ resource, appliedAtMs }) => {
    const failure = refusedByName.get(resource.name);
    refusedByName.delete(resource.name);
    const state = {
      version_info: resource.version,
      [section.key]: redact(resources.decode(section.typeUrl, resource.bytes)),
      last_updated: new Date(appliedAtMs).toISOString(),
    };
    const error = failure === undefined ? {} : { error_state: errorState(failure) };
    return section.isNested
      ? { name: resource.name, active_state: state, ...error }
      : { ...state, ...error };
  });
  const neverAccepted = [...refusedByName.values()].map((failure) =>
    section.isNested
      ? { name: failure.resource.name, error_state: errorState(failure) }
      : {
          version_info: failure.resource.version,
          [section.key]: {
            "@type": section.typeUrl,
            [section.typeUrl === typeUrls.endpoint ? "cluster_name" : "name"]:
              failure.resource.name,
          },
          error_state: errorState(failure),
        },
  );
  return [...entries, ...neverAccepted];
}

function errorState(failure: RefusedResource): JsonValue {
  return {
    last_update_attempt: new Date(failure.appliedAtMs).toISOString(),
    details: failure.reason,
    version_info: failure.resource.version,
  };
}

function dumpSecrets({ configuration, secrets }: DumpSource): JsonValue[] {
  return [...configuration.secretNames()].flatMap((name): JsonValue[] => {
    const secret = secrets.get(name);
    if (secret === undefined) return [];
    const content = secretContent(secret);
    return [{ name, secret: { "@type": typeUrls.secret, name, ...content } }];
  });
}

function secretContent(secret: TlsSecret): { readonly [field: string]: JsonValue } {
  const inline = (text: string): JsonValue => ({ inline_bytes: base64(text) });
  switch (secret.kind) {
    case "certificate":
      return {
        tls_certificate: {
          certificate_chain: inline(secret.chainPem),
          private_key: inline(redacted),
        },
      };
    case "validation":
      return { validation_context: { trusted_ca: inline(secret.trustedCaPem) } };
    case "revocations":
      return { validation_context: { crl: inline(secret.crlPem) } };
    case "ticket-keys":
      return { session_ticket_keys: { keys: secret.keys.map(() => inline(redacted)) } };
  }
}

const redacted = "[redacted]";

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

/** Texts that are secrets themselves: of tracers, and of calls to collectors. */
const secretTexts: ReadonlySet<string> = new Set(["backend_token"]);
const secretFields: ReadonlySet<string> = new Set(["private_key", "password", "pkcs12", "keys"]);

/** Keys may be written into TLS contexts; whatever form they have, they do not leave. */
function redact(value: JsonValue, isSecret = false): JsonValue {
  if (Array.isArray(value)) return value.map((item) => redact(item, isSecret));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([field, item]) => {
      if (secretTexts.has(field)) return [field, redacted];
      if (isSecret && field === "inline_string") return [field, redacted];
      if (isSecret && field === "inline_bytes") return [field, base64(redacted)];
      return [field, redact(item, isSecret || secretFields.has(field))];
    }),
  );
}

async function loadDecoder(): Promise<Decode> {
  const [{ fromBinary, toJson }, { registry }] = await Promise.all([
    import("@bufbuild/protobuf"),
    import("../../wire/gen/es/registry.ts"),
  ]);
  return (typeUrl, bytes) => {
    const schema: DescMessage | undefined = registry.getMessage(typeUrl.split("/").at(-1) ?? "");
    if (schema === undefined) return { "@type": typeUrl };
    const json = toJson(schema, fromBinary(schema, bytes), { registry, useProtoFieldName: true });
    const fields = typeof json === "object" && json !== null && !Array.isArray(json) ? json : {};
    return { "@type": typeUrl, ...fields };
  };
}
