/**
 * ServiceEntries of TCP services, as captured workloads reach them: two on one port told apart by the
 * addresses that their names resolve to, one by a range of addresses.
 */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { test, type TestContext } from "node:test";

import { eventually, startMesh } from "./support/mesh.ts";
import { scrape } from "./support/proxy-metrics.ts";
import { capturedCases } from "./support/security-mesh.ts";

const meshFile = `
mesh: entries
console: { port: 0 }
workloads:
- name: client
  command: [{exec}]
`;

const hostAddress = (): string => {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const found = all.find((one) => one.family === "IPv4" && !one.internal)?.address;
  assert(found !== undefined, "this machine has no address besides loopback");
  return found;
};

/** A server that says its name and ends; resolves to its port. */
async function greeter(t: TestContext, greeting: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end(greeting);
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  const bound = server.address();
  assert(bound !== null && typeof bound === "object");
  return bound.port;
}

const entry = (name: string, spec: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec: ${spec}
---`;

const tcp = "ports: [{ number: 5432, name: tcp, protocol: TCP }]";

for (const { mode, dataPlane, title } of capturedCases) {
  test(`TCP ServiceEntries: ${title}`, async (t) => {
    const address = hostAddress();
    const [one, two, three] = await Promise.all([
      greeter(t, "one"),
      greeter(t, "two"),
      greeter(t, "three"),
    ]);
    const entryOf = (name: string, port: number): string =>
      entry(
        name,
        `{ hosts: [${name}.example], resolution: STATIC, ${tcp}, endpoints: [{ address: ${address}, ports: { tcp: ${port} } }] }`,
      );
    const range = `{ hosts: [range.example], addresses: [${address}/32], ports: [{ number: ${three}, name: tcp, protocol: TCP }] }`;
    await using mesh = await startMesh({
      mode,
      dataPlane,
      processes: "heddle",
      files: {
        "heddle.yaml": meshFile,
        "entries.yaml": entryOf("one", one) + entryOf("two", two) + entry("range", range),
      },
    });
    const client = mesh.workload("client-0");
    const read = async (host: string, port: number): Promise<string> => {
      const script = `require("net").connect(${port},"${host}").on("error",(e)=>console.log(e.code)).pipe(process.stdout)`;
      return (await client.exec(`${process.execPath} -e '${script}'`)).stdout.trim();
    };
    await eventually("the names resolve", async () => (await read("one.example", 5432)) === "one");
    assert.equal(await read("two.example", 5432), "two");
    const script = `require("dns").resolve4("one.example",(e,a)=>console.log(String(a)))`;
    const { stdout } = await client.exec(`${process.execPath} -e '${script}'`);
    assert.match(stdout.trim(), /^240\.240\.\d+\.\d+$/);

    assert.equal(await read(address, three), "three");
    const services = ["one.example", "two.example", "range.example"];
    await eventually("each is counted for its service", async () => {
      const samples = await scrape(mesh, { name: "client-0" });
      const counted = new Set(
        samples
          .filter((one) => one.name === "istio_tcp_connections_opened_total" && one.value > 0)
          .map(({ labels }) => labels["destination_service"]),
      );
      return services.every((name) => counted.has(name));
    });
  });
}
