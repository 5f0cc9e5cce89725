import type { RequestHttp } from "../../../src/net/http-request.ts";

/** A proxy's admin socket that holds a few resources, in the shape of Envoy's dump. */
export const fakeProxyAdmin: RequestHttp = async ({ url, method }) => {
  const { pathname, search } = new URL(url);
  if (pathname === "/logging") {
    return { status: 200, contentType: "text/plain", text: `active loggers: ${method} ${search}` };
  }
  return { status: 200, contentType: "application/json", text: JSON.stringify(dump) };
};

const dump = {
  configs: [
    {
      "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
      dynamic_listeners: [
        listener("virtualOutbound", "0.0.0.0", 15001),
        listener("virtualInbound", "0.0.0.0", 15006),
        listener("0.0.0.0_80", "0.0.0.0", 80),
      ],
    },
    {
      "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
      dynamic_active_clusters: ["catalog", "cart", "checkout"].map((name) => ({
        version_info: "41",
        cluster: { name: `outbound|80||${name}.default.svc.cluster.local`, type: "EDS" },
      })),
    },
    {
      "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
      dynamic_route_configs: [
        {
          version_info: "41",
          route_config: { name: "80", virtual_hosts: [{ name: "catalog" }, { name: "cart" }] },
        },
      ],
    },
  ],
};

function listener(name: string, address: string, port: number): object {
  const socketAddress = { socket_address: { address, port_value: port } };
  return { name, active_state: { version_info: "41", listener: { name, address: socketAddress } } };
}
