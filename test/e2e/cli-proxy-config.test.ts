/**
 * `heddle proxy-config`: what each view shows of a proxy of either kind, what its filters leave, and
 * under which names a proxy is found.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { type CliResult, cliOf } from "./support/cli.ts";
import { dataPlanes, faultMode, settled, startFaultMesh } from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const files = {
  "heddle.yaml": `
mesh: shown
console: { port: 0 }
workloads:
- name: server-v1
  service: server
  serviceAccount: keeper
  labels: { version: v1 }
  command: [{exec}, "8080"]
  ports: [{ name: http, port: 80, targetPort: 8080, protocol: HTTP }]
- name: server-v2
  service: server
  serviceAccount: keeper
  labels: { version: v2 }
  command: [{exec}, "8080"]
  ports: [{ name: http, port: 80, targetPort: 8080, protocol: HTTP }]
- name: store
  namespace: other
  command: [{exec}, "9000"]
  ports: [{ name: tcp, port: 9000, protocol: TCP }]
- name: client
  command: [{exec}]
`,
  "rules.yaml": `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: server }
spec:
  host: server
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
`,
};
const server = "server.default.svc.cluster.local";
const store = "store.other.svc.cluster.local";

for (const dataPlane of dataPlanes) {
  describe(`proxy-config, ${faultMode}, ${dataPlane}`, () => {
    let mesh: TestMesh;
    let heddle: (line: string) => Promise<CliResult>;
    before(async () => {
      mesh = await startFaultMesh(dataPlane, files);
      heddle = cliOf(mesh);
      await settled(mesh, 4);
    });
    after(async () => await mesh.stop());

    /** Rows of a table, each with its cells; the first is the head. */
    const table = async (line: string): Promise<readonly (readonly string[])[]> => {
      const { code, stdout, stderr } = await heddle(`pc ${line}`);
      assert.equal(code, 0, stderr);
      return stdout
        .trimEnd()
        .split("\n")
        .map((row) => row.split(/ {3,}/).map((cell) => cell.trim()));
    };
    const rows = async (line: string): Promise<readonly string[]> =>
      (await table(line)).slice(1).map((cells) => cells.join(" "));

    test("clusters, by service, port, subset, direction and name", async () => {
      const ofServer = ["", "v1", "v2"].map(
        (subset) => `${server} 80 ${subset === "" ? "-" : subset} outbound EDS by endpoint active`,
      );
      assert.deepEqual(await rows(`clusters client --fqdn ${server}`), ofServer);
      assert.deepEqual(await rows("clusters client --subset v2"), ofServer.slice(2));
      const name = `outbound|80|v1|${server}`;
      for (const filter of ["--name", "--cluster"]) {
        assert.deepEqual(await rows(`clusters client ${filter} ${name}`), [ofServer[1]]);
      }
      const [ofPort = "", ...others] = await rows("clusters client --port 9000");
      assert.deepEqual(others, []);
      assert(ofPort.startsWith(`${store} 9000 - outbound`), ofPort);
      const inbound = await rows("clusters server-v1 --direction inbound");
      assert(inbound.length > 0 && inbound.every((row) => row.includes(" inbound ")));
      assert(inbound.some((row) => row.includes(" 8080 ")));
      const outbound = await rows("clusters server-v1 --direction outbound");
      assert(outbound.length >= 4 && outbound.every((row) => row.includes(" outbound ")));
    });

    test("endpoints, as the proxy balances over them", async () => {
      const one = await table(`endpoints client --cluster outbound|80|v2|${server}`);
      assert.deepEqual(one[0], ["ENDPOINT", "STATUS", "OUTLIER CHECK", "WEIGHT", "CLUSTER"]);
      const [, [address = "", ...state] = []] = one;
      assert.match(address, /^198\.18\.0\.\d+:8080$/);
      assert.deepEqual(state, ["HEALTHY", "OK", "1", `outbound|80|v2|${server}`]);
      assert.equal(one.length, 2);
      const all = await rows(`endpoints client --fqdn ${server}`);
      assert.equal(all.length, 4); // both of the service, and each of its subset
      assert.equal((await rows("endpoints client --port 9000")).length, 1);
      assert.deepEqual(
        (await heddle("pc endpoints client --fqdn nobody")).stdout,
        "no endpoints\n",
      );
    });

    test("listeners, by port and name, with what they match and where they lead", async () => {
      const ofPort = await rows("listeners client --port 80");
      assert(ofPort.length > 0 && ofPort.every((row) => row.startsWith("0.0.0.0_80 0.0.0.0 80 ")));
      assert(ofPort.some((row) => row.endsWith("HTTP, route 80")));
      const named = await rows("listeners client --name virtualInbound");
      assert(named.length > 0 && named.every((row) => row.startsWith("virtualInbound ")));
      assert(
        named.some((row) => row.includes(" yes ")),
        named.join("\n"),
      ); // TLS
    });

    test("routes, by name", async () => {
      const routes = await rows("routes client --name 80");
      assert(routes.every((row) => row.startsWith("80 ")));
      const ofServer = routes.find((row) => row.includes(`${server}:80`)) ?? "";
      assert(ofServer.includes(`${server}, server.default.svc, server.default`), ofServer);
    });

    test("secrets: state, serial, validity, SPIFFE id and chain; as PEM, too", async () => {
      const { stdout } = await heddle("pc secrets server-v1 -o pem");
      const pems = stdout.match(/-----BEGIN[^]*?-----END CERTIFICATE-----/g) ?? [];
      const [leaf, intermediate, root, ...others] = pems.map((pem) => new X509Certificate(pem));
      assert(leaf !== undefined && intermediate !== undefined && root !== undefined);
      assert.deepEqual(others, []);
      assert(leaf.checkIssued(intermediate) && intermediate.checkIssued(root));
      assert.doesNotMatch(stdout, /PRIVATE KEY/);
      const shown = await table("secrets server-v1 --name default");
      const cells = Object.fromEntries(
        (shown[0] ?? []).map((head, index) => [head, shown[1]?.[index]]),
      );
      assert.deepEqual(cells, {
        NAME: "default",
        TYPE: "Cert Chain",
        STATE: "active",
        VALID: "true",
        SERIAL: leaf.serialNumber.toLowerCase(),
        "NOT AFTER": leaf.validToDate.toISOString(),
        "NOT BEFORE": leaf.validFromDate.toISOString(),
        "SPIFFE ID": "spiffe://cluster.local/ns/default/sa/keeper",
        CHAIN: "2",
      });
      assert.match(
        (await rows("secrets server-v1 --name ROOTCA")).join(),
        /^ROOTCA CA active true/,
      );
    });

    test("all, memory and bootstrap speak of this proxy", async () => {
      const all = await heddle(`pc all client --fqdn ${store}`);
      for (const head of ["DESTINATION", "VIRTUAL HOST", "SERVICE FQDN", "ENDPOINT", "SPIFFE ID"]) {
        assert(all.stdout.includes(head), head);
      }
      assert.match(all.stdout, new RegExp(`^${store} +9000 `, "m"));
      assert.doesNotMatch(all.stdout, new RegExp(`^${server} +80 `, "m"));
      const memory = await rows("memory client");
      assert(
        memory.some((row) => /^allocated [1-9]\d{5,}$/.test(row)),
        memory.join("\n"),
      );
      const { stdout } = await heddle("pc bootstrap client -o json");
      const { node }: { readonly node: { readonly id: string } } = JSON.parse(stdout);
      assert.match(
        node.id,
        /^sidecar~198\.18\.0\.\d+~client-0\.default~default\.svc\.cluster\.local$/,
      );
    });

    test("a proxy is found by workload, instance, and namespace before or after it", async () => {
      for (const name of ["store", "store-0", "store.other", "store-0.other", "other/store-0"]) {
        const { code, stderr } = await heddle(`pc clusters ${name} --port 9000`);
        assert.equal(code, 0, `${name}: ${stderr}`);
      }
      const nobody = await heddle("pc clusters store-0.default");
      assert.equal(nobody.code, 1);
      assert.match(nobody.stderr, /^heddle: there is no proxy store-0\.default; there are /);
    });

    test("a level is changed while the proxy runs, for one logger and for all", async () => {
      const logger = dataPlane === "heddle" ? "listener" : "router";
      const levelOf = async (): Promise<string | undefined> =>
        new RegExp(`^ *${logger}: (\\w+)$`, "m").exec((await heddle("pc log client")).stdout)?.[1];
      assert.notEqual(await levelOf(), "debug");
      assert.equal((await heddle(`pc log client --level ${logger}:debug`)).code, 0);
      assert.equal(await levelOf(), "debug");
      // Heddle's loggers tell nothing per request; that a level acts is tested where they are made.
      if (dataPlane === "envoy") {
        await mesh.workload("client-0").exec("curl -s -m 5 http://server/");
        await eventually("Envoy's lines stand in the sidecar's log", () =>
          / debug envoy-log envoy says logger=router /.test(mesh.log("client-0.default.proxy.log")),
        );
      }
      assert.equal((await heddle("pc log client --level error")).code, 0);
      assert.equal(await levelOf(), "error");
    });
  });
}
