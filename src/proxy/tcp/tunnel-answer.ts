/**
 * What the proxy on the way has answered when a tunnel was asked of it, kept as filter state of the
 * connection for access logs (`propagate_response_headers`, `propagate_response_trailers`): also of an
 * answer that refuses. It has no text, as in Envoy, so policies cannot ask for it.
 */
import { utf8Of } from "../../base/latin1.ts";
import type { TcpProxy_TunnelingConfig as TunnelingConfig } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import type { ConnectionView } from "../engine/request.ts";
import type { AnswerFields, AnswerListener } from "../http2/connect-channel.ts";

const headersKey = "envoy.tcp_proxy.propagate_response_headers";
const trailersKey = "envoy.tcp_proxy.propagate_response_trailers";

/** Undefined where nothing is kept. */
export function compileAnswerKeeper({
  propagateResponseHeaders: keepsHeaders,
  propagateResponseTrailers: keepsTrailers,
}: TunnelingConfig): ((connection: ConnectionView) => AnswerListener) | undefined {
  if (!keepsHeaders && !keepsTrailers) return undefined;
  return (connection) => ({
    ...(keepsHeaders ? { onHeaders: (fields) => keep(connection, headersKey, fields) } : {}),
    ...(keepsTrailers ? { onTrailers: (fields) => keep(connection, trailersKey, fields) } : {}),
  });
}

/** Of attempts the last one stands. */
function keep(connection: ConnectionView, key: string, fields: AnswerFields): void {
  // A message says nothing of what is empty.
  const headers = fields.map(([key, value]) =>
    value === "" ? { key } : { key, value: utf8Of(value) },
  );
  const object = { text: undefined, value: { headers }, isHashable: false };
  connection.state = new Map([...(connection.state ?? []), [key, object]]);
}
