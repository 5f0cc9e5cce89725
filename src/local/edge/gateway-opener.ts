/** Opens gateways' ports from inside the namespaces: the host listens, the edge passes on. */
import { HeddleError } from "../../base/error.ts";
import type { HostPortOpener } from "../run/host-ports.ts";
import type { Edge } from "./edge.ts";
import type { HostLink } from "./host-link.ts";

export function gatewayOpener(link: HostLink, edge: Edge): HostPortOpener {
  return {
    async open({ key, hostAddress, hostPort, name, target }) {
      const what = `gateway ${name}`;
      const server = await link.listen({ key, what, address: hostAddress, port: hostPort });
      const bound = server.address();
      if (bound === null || typeof bound === "string") {
        server.close();
        throw new HeddleError("local.host-port", `the port of gateway ${name} was lost`);
      }
      server.on("error", (error) => console.error(`host port ${bound.port}: ${error.message}`));
      edge.relay(server, target);
      return {
        port: bound.port,
        close: () => {
          server.close();
        },
      };
    },
  };
}
