/** Services of HTTP that the proxy itself posts to in a cluster, as configuration names them. */
import type { HeaderValueOption } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { HttpService } from "../../wire/gen/ts/envoy/config/core/v3/http_service.ts";
import { honoured, type Honoured } from "../config/honoured.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { PostTarget } from "./cluster-post.ts";

const honouredService: Honoured<HttpService> = {
  httpUri: { uri: true, cluster: true, timeout: true },
  requestHeadersToAdd: { header: { key: true, value: true }, append: "absent" },
};

const timeoutDefaultMs = 5000;

export function compileHttpTarget(
  service: HttpService | undefined,
  contentType: string,
  path: string,
): PostTarget {
  if (service === undefined) return refuse(path, "is required");
  const { httpUri, requestHeadersToAdd } = honoured(service, honouredService, path);
  const { uri = "", cluster = "", timeout } = httpUri ?? {};
  const parsed = /^http:\/\/([^/]+)(\/.*)?$/.exec(uri);
  if (parsed === null || cluster === "") {
    refuse(`${path}.http_uri`, "needs an http:// URI and a cluster");
  }
  return {
    cluster,
    authority: parsed[1] ?? "",
    path: parsed[2] ?? "/",
    contentType,
    headers: compileFields(requestHeadersToAdd, `${path}.request_headers_to_add`),
    timeoutMs: durationMs(timeout) || timeoutDefaultMs,
  };
}

function compileFields(
  options: readonly HeaderValueOption[],
  path: string,
): NonNullable<PostTarget["headers"]> {
  return options.map(({ header }, i): readonly [string, string] => {
    const { key = "", value = "" } = header ?? {};
    if (key === "") refuse(`${path}[${i}].header.key`, "is required");
    if (value.includes("%")) refuse(`${path}[${i}].header.value`, "formats are not supported");
    return [lowerAscii(key), value];
  });
}
