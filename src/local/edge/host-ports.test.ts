import assert from "node:assert/strict";
import { Server } from "node:net";
import { test } from "node:test";

import type { SocketAddress } from "../../base/socket-address.ts";
import type { GatewayTarget } from "../supervisor.ts";
import type { Edge } from "./edge.ts";
import type { HostLink } from "./host-link.ts";
import { HostPorts } from "./host-ports.ts";

const gateway: SocketAddress = { address: "198.18.0.2", port: 80 };

function target(key: string, hostPort: number): GatewayTarget {
  return { name: key, key, hostPort, hostAddress: "127.0.0.1", target: () => gateway };
}

test("HostPorts keeps a listener it was started with, refuses meanwhile, and leads it back", async () => {
  const first = new Server();
  const targets = new Map<Server, SocketAddress | undefined>();
  const opened: number[] = [];
  const edge: Edge = {
    relay: (server, to) => targets.set(server, to()),
    close: () => {},
  };
  const link: HostLink = {
    listen: async ({ port }: SocketAddress) => {
      opened.push(port);
      return new Server();
    },
  } as unknown as HostLink; // Of the link, only `listen` is asked.
  const ports = new HostPorts({
    link,
    edge,
    inherited: new Map([["gw@18080", first]]),
    onRefused: (reason) => assert.fail(reason),
  });
  ports.follow([target("gw@18080", 18_080)]);
  assert.equal(targets.get(first), gateway);
  ports.follow([target("gw@18999", 18_999)]);
  assert.equal(targets.get(first), undefined);
  ports.follow([target("gw@18080", 18_080)]);
  await Promise.resolve();
  assert.equal(targets.get(first), gateway);
  assert.deepEqual(opened, [18_999]);
});
