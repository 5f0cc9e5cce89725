import type { ConnectionView, RequestView } from "../../src/proxy/engine/request.ts";

/** A request as plain values; header names in lower case. A list of values stands on as many lines. */
export function requestView(
  parts: Partial<Omit<RequestView, "header" | "connection">> & {
    readonly headers?: Readonly<Record<string, string | readonly string[]>>;
    readonly connection?: Partial<ConnectionView>;
  } = {},
): RequestView {
  const { headers = {}, connection = {}, ...rest } = parts;
  const request = {
    method: "GET",
    path: "/",
    authority: "catalog",
    scheme: "http",
    ...rest,
    connection: connectionView(connection),
  };
  const pseudo: Readonly<Record<string, string | undefined>> = {
    ":method": request.method,
    ":path": request.path || undefined,
    ":authority": request.authority,
    ":scheme": request.scheme,
  };
  const lines = (name: string): readonly string[] | undefined => {
    const value = headers[name];
    return typeof value === "object" ? value : undefined;
  };
  return {
    ...request,
    header: (name) => pseudo[name] ?? lines(name)?.join() ?? headers[name]?.toString(),
    lines,
  };
}

export function connectionView(parts: Partial<ConnectionView> = {}): ConnectionView {
  return {
    sourceAddress: "198.18.0.7",
    sourcePort: 40_000,
    destinationAddress: "198.18.0.9",
    destinationPort: 8080,
    sni: undefined,
    alpn: undefined,
    isTls: false,
    peerUriSans: [],
    ...parts,
  };
}
