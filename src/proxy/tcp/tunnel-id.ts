/**
 * The id of a request that asks for a tunnel (`request_id_extension`): sent along, and kept in the connection's
 * metadata, by which logs and policies know it again.
 */
import type { TcpProxy_TunnelingConfig as TunnelingConfig } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { newRequestId } from "../../telemetry/random-ids.ts";
import type { EditableHeaders } from "../engine/header-edit.ts";
import { refuse } from "../engine/refusal.ts";
import type { ConnectionView } from "../engine/request.ts";
import { compileRequestIds } from "../http/request-ids.ts";

const namespace = "envoy.filters.network.tcp_proxy";

/** Undefined where requests have no id. */
export function compileTunnelIds(
  config: TunnelingConfig,
  path: string,
): ((fields: EditableHeaders, connection: ConnectionView) => void) | undefined {
  const { requestIdExtension, requestIdHeader, requestIdMetadataKey } = config;
  if (requestIdExtension === undefined) {
    const why = "needs request_id_extension";
    if (requestIdHeader !== "") refuse(`${path}.request_id_header`, why);
    if (requestIdMetadataKey !== "") refuse(`${path}.request_id_metadata_key`, why);
    return undefined;
  }
  // Nothing is traced here: what its options say of traces has no place to show.
  compileRequestIds(requestIdExtension.typedConfig, `${path}.request_id_extension.typed_config`);
  const name = headerName(requestIdHeader, `${path}.request_id_header`);
  const key = requestIdMetadataKey === "" ? "tunnel_request_id" : requestIdMetadataKey;
  return (fields, connection) => {
    const id = newRequestId();
    fields.set(name, id);
    const { metadata } = connection;
    const told = { ...metadata?.get(namespace), [key]: id };
    connection.metadata = new Map([...(metadata ?? []), [namespace, told]]);
  };
}

function headerName(name: string, path: string): string {
  if (name === "") return "x-request-id";
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)
    ? name.toLowerCase()
    : refuse(path, "is no name of a header");
}
