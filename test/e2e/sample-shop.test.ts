/**
 * The sample shop as `npm start` runs it, with either data plane: what its README and its YAML promise
 * is what its visitors, and a stranger among its workloads, see.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { dataPlanes, faultMode, startFaultMesh } from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";
import { type Sample, scrape } from "./support/proxy-metrics.ts";
import { shopFiles } from "./support/shop-files.ts";

const stranger = `
- name: stranger
  serviceAccount: stranger
  command: [{exec}]
`;
const asked = 300;
/** One in ten goes to v2: 30 of them, give or take 4.5 times the deviation of 5.2. */
const v2Min = 7;
const v2Max = 53;

for (const dataPlane of dataPlanes) {
  describe(`the sample shop, ${faultMode}, ${dataPlane}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = shopFiles();
      const heddleYaml = `${files["heddle.yaml"]}${stranger}`;
      mesh = await startFaultMesh(dataPlane, { ...files, "heddle.yaml": heddleYaml });
    });
    after(async () => await mesh.stop());

    const ask = async (path: string, init: RequestInit = {}): Promise<Response> =>
      await fetch(`${mesh.gatewayUrls[0]}${path}`, {
        ...init,
        signal: AbortSignal.timeout(30_000),
      });
    const versionSeenBy = async (headers: Record<string, string>): Promise<string> => {
      const answer = await ask("api/products", { headers });
      assert.equal(answer.status, 200);
      const { version }: { readonly version: string } = JSON.parse(await answer.text());
      return version;
    };

    test("its page is served, and one request in ten sees the new catalog, beta users always", async () => {
      assert.match(await (await ask("")).text(), /<title>The Heddle Shop<\/title>/);
      const seen: Record<string, number> = { v1: 0, v2: 0 };
      for (let request = 0; request < asked; request += 10) {
        const ten = await Promise.all(Array.from({ length: 10 }, async () => versionSeenBy({})));
        for (const version of ten) seen[version] = (seen[version] ?? 0) + 1;
      }
      const { v1 = 0, v2 = 0 } = seen;
      assert.equal(v1 + v2, asked);
      assert(v2 >= v2Min && v2 <= v2Max, `${v2} of ${asked}`);
      for (let request = 0; request < 20; request++) {
        assert.equal(await versionSeenBy({ "x-user": "beta" }), "v2");
      }
    });

    test("an order takes stock from the ledger and is paid", async () => {
      const { products }: { readonly products: readonly { readonly sku: string }[] } = JSON.parse(
        await (await ask("api/products")).text(),
      );
      const sku = products[0]?.sku;
      const post = { method: "POST", headers: { "content-type": "application/json" } };
      const added = await ask("api/cart?id=me", { ...post, body: JSON.stringify({ sku }) });
      assert.equal(added.status, 200, await added.text());
      const ordered = await ask("api/checkout?id=me", post);
      const text = await ordered.text();
      assert.equal(ordered.status, 200, text);
      assert.equal(JSON.parse(text).items, 1);
    });

    test("the price feed is a WebSocket through the gateway", async () => {
      const url = `${mesh.gatewayUrls[0]?.replace("http:", "ws:")}prices`;
      const socket = new WebSocket(url);
      const messages: string[] = [];
      socket.addEventListener("message", ({ data }) => messages.push(String(data)));
      await eventually("two messages", () => messages.length >= 2);
      socket.close();
      assert.match(messages[1] ?? "", /^\{"prices":\{"\w+":[\d.]+/);
    });

    test("only checkout reaches payments, only inventory the ledger", async () => {
      const from = async (script: string) =>
        (await mesh.workload("stranger-0").exec(script)).stdout;
      const charge = await from(
        "curl -s -m 5 -w ' %{http_code}' -d '{\"amount\":1}' http://payments/charge",
      );
      assert.equal(charge, "RBAC: access denied 403");
      const list = `const s=require("net").connect(9000,"ledger");s.write("LIST\\n");s.on("data",d=>process.stdout.write(d)).on("error",()=>{}).on("close",()=>process.exit())`;
      assert.equal(await from(`'${process.execPath}' -e '${list}'`), "");
      const paid = await eventually("the order's charge is counted", async () => {
        const replicas = await Promise.all([served("payments-0"), served("payments-1")]);
        return replicas.flat().length > 0 && replicas.flat();
      });
      assert.deepEqual(
        [...new Set(paid.map(({ labels }) => labels["source_workload"]))],
        ["checkout"],
      );
      const opened = (await scrape(mesh, { name: "ledger-0" })).filter(
        ({ name, value }) => name === "istio_tcp_connections_opened_total" && value > 0,
      );
      assert(opened.some(({ labels }) => labels["source_workload"] === "inventory"));
      for (const { labels } of [...paid, ...opened]) {
        assert.equal(labels["connection_security_policy"], "mutual_tls");
      }
    });

    /** Requests that an instance's application has answered, told by its own sidecar. */
    const served = async (name: string): Promise<readonly Sample[]> =>
      (await scrape(mesh, { name })).filter(
        ({ name: series, labels, value }) =>
          series === "istio_requests_total" &&
          labels["reporter"] === "destination" &&
          labels["response_code"] === "200" &&
          value > 0,
      );

    test("the one service outside is known by its name", async () => {
      await ask("api/about"); // whether it can be reached is the network's matter
      const outside = await eventually("it is counted", async () =>
        (await scrape(mesh, { name: "storefront-0" })).find(
          ({ name, labels }) =>
            name === "istio_requests_total" && labels["destination_service"] === "example.com",
        ),
      );
      assert.equal(outside.labels["reporter"], "source");
    });

    test("visitors come, look around and buy, and hardly anything fails", async () => {
      const told = await eventually(
        "the load generator tells of orders",
        () => {
          const [line] = mesh.log("loadgen-0.default.log").match(/^\{.*"orders":[1-9].*\}$/m) ?? [];
          return line;
        },
        60_000,
      );
      const { requests, failed } = JSON.parse(told);
      assert(requests > 20 && failed <= requests / 20, told);
    });
  });
}
