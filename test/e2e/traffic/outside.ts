/** Destinations that are not of the mesh: unknown ones by policy, declared ones by ServiceEntry. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "../support/mesh.ts";
import { outsideHttp, type OutsideServer, outsideTcp } from "../support/outside.ts";
import type { Traffic } from "../support/traffic.ts";

export function outsideTests(traffic: () => Traffic): void {
  describe("outside", () => {
    let web: OutsideServer;
    let tcp: OutsideServer;
    before(async () => {
      [web, tcp] = await Promise.all([outsideHttp(), outsideTcp()]);
      // Captured workloads ask the mesh for names, others the machine.
      const name = traffic().mode === "explicit" ? "localhost" : "alias.example";
      traffic().mesh.write("entries.yaml", entries(web, name));
      for (const host of ["static.example", "named.example"]) {
        await eventually(`${host} is known`, async () => {
          const { status } = await traffic().http(toEntry(host), traffic().key());
          return status === 200;
        });
      }
    });
    after(async () => {
      await Promise.all([web[Symbol.asyncDispose](), tcp[Symbol.asyncDispose]()]);
    });

    // Captured requests go by their Host header; any address will do.
    const toEntry = (host: string) =>
      traffic().mode === "explicit"
        ? { host, port: 80 }
        : { host, port: 80, direct: { host: "203.0.113.9", port: 80 } };

    for (const [host, resolution] of [
      ["static.example", "STATIC"],
      ["named.example", "DNS"],
    ] as const) {
      test(`a ServiceEntry with resolution ${resolution} leads to its endpoint`, async () => {
        const key = traffic().key();
        const answer = await traffic().http(toEntry(host), key);
        assert.deepEqual([answer.status, answer.headers["x-from"]], [200, "outside"]);
        const entry = await traffic().logged("client-0", key);
        assert.equal(entry["upstream_cluster"], `outbound|80||${host}`);
      });
    }

    test("an unknown host passes while ALLOW_ANY holds", async () => {
      const call = { host: web.address, port: web.port };
      const { status, headers } = await traffic().http(call, traffic().key());
      assert.deepEqual([status, headers["x-from"]], [200, "outside"]);
    });

    test("REGISTRY_ONLY blocks unknown destinations and leaves declared ones alone", async () => {
      const policy = "  outboundTrafficPolicy: { mode: REGISTRY_ONLY }\n";
      const written = traffic().meshFile;
      traffic().mesh.write("heddle.yaml", written.replace(/^meshConfig:\n/m, `$&${policy}`));
      try {
        await blocked(traffic(), web);
        const known = await traffic().http(toEntry("static.example"), traffic().key());
        assert.equal(known.status, 200);
        assert.equal((await traffic().http({ host: "web" }, traffic().key())).status, 200);
        if (traffic().mode !== "explicit") {
          const { received } = await traffic().connect(tcp, ["", "hello"]);
          assert.equal(received, "");
        }
      } finally {
        traffic().mesh.write("heddle.yaml", written);
      }
      await eventually("it passes again", async () => {
        const call = { host: web.address, port: web.port };
        const answer = await traffic()
          .http(call, traffic().key())
          .catch(() => undefined);
        return answer?.status === 200;
      });
    });
  });
}

/** An unknown host on an HTTP port of the mesh is answered, on any other port cut off. */
async function blocked(traffic: Traffic, web: OutsideServer): Promise<void> {
  const isExplicit = traffic.mode === "explicit";
  await eventually("an unknown host is refused", async () => {
    const unknown = isExplicit
      ? { host: "unknown.example" }
      : { host: "unknown.example", direct: { host: web.address, port: 80 } };
    const { status } = await traffic.http(unknown, traffic.key());
    return status === 502;
  });
  const call = { host: web.address, port: web.port };
  const answer = await traffic.http(call, traffic.key()).catch(() => undefined);
  assert.equal(answer?.status, isExplicit ? 502 : undefined);
}

/** One service by address and one by a name, which the third makes known to the mesh. */
function entries({ address, port }: OutsideServer, name: string): string {
  const entry = (host: string, resolution: string, endpoint: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${host}, namespace: default }
spec:
  hosts: [${host}.example]
  location: MESH_EXTERNAL
  resolution: ${resolution}
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: ${port} }]
  endpoints: [{ address: ${endpoint} }]
---`;
  return `${entry("static", "STATIC", address)}${entry("named", "DNS", name)}
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: alias, namespace: default }
spec:
  hosts: [alias.example]
  addresses: [${address}]
  location: MESH_EXTERNAL
  resolution: NONE
  ports: [{ number: 9999, name: tcp, protocol: TCP }]
`;
}
