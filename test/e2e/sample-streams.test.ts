/**
 * The sample shop's gRPC service with streams in both directions, and its database, with either data
 * plane: messages and bytes that the sidecars count are what both ends have counted, and the console
 * shows them.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { GraphAnswer, ServiceAnswer, StatusAnswer } from "../../src/console/api.ts";
import { dataPlanes, faultMode, startFaultMesh } from "./support/faults.ts";
import { askConsole, eventually, type TestMesh } from "./support/mesh.ts";
import { scrape } from "./support/proxy-metrics.ts";
import { shopFiles } from "./support/shop-files.ts";

type Counts = Readonly<Record<string, number>>;

/** Nobody else shall call: what is counted is what this test asks for. */
function withoutVisitors(heddleYaml: string): string {
  const [before = "", after] = heddleYaml.split("- name: loadgen\n");
  assert.ok(after !== undefined, "the load generator is the last workload");
  return before;
}

for (const dataPlane of dataPlanes) {
  describe(`streams of the sample shop, ${faultMode}, ${dataPlane}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = shopFiles();
      const heddleYaml = withoutVisitors(files["heddle.yaml"] ?? "");
      mesh = await startFaultMesh(dataPlane, { ...files, "heddle.yaml": heddleYaml });
    });
    after(async () => await mesh.stop());

    const ask = async (path: string, init: RequestInit = {}): Promise<unknown> => {
      const answer = await fetch(`${mesh.gatewayUrls[0]}${path}`, {
        ...init,
        signal: AbortSignal.timeout(30_000),
      });
      const text = await answer.text();
      assert.equal(answer.status, 200, `${path}: ${text}`);
      return JSON.parse(text);
    };

    /** What an application has counted last, as its log tells. */
    const toldBy = (instance: string): Counts => {
      const lines = mesh.log(`${instance}.default.log`).match(/^\{"\w+":\d+,"\w+":\d+\}$/gm);
      return JSON.parse(lines?.at(-1) ?? "{}");
    };

    const countedBy = async (instance: string, reporter: string, series: string) => {
      const found = (await scrape(mesh, { name: instance })).filter(
        ({ name, labels }) =>
          name === series &&
          labels["reporter"] === reporter &&
          ["offers", "orders"].includes(labels["destination_service_name"] ?? ""),
      );
      for (const { labels } of found) {
        assert.equal(labels["source_workload"], series.includes("tcp") ? "checkout" : "storefront");
      }
      return found.reduce((sum, { value }) => sum + value, 0);
    };

    test("messages of gRPC are counted as both ends count them", async () => {
      let received = 0;
      let sent = 0;
      for (const take of [1, 3, 7, 12]) {
        const { offers } = (await ask(`api/offers?take=${take}`)) as { offers: unknown[] };
        assert.equal(offers.length, take);
        sent += take;
        received += 1;
      }
      for (const sku of ["mug", "lamp", "pen"]) {
        const path = `api/haggle?sku=${sku}`;
        const { rounds } = (await ask(path, { method: "POST" })) as { rounds: number };
        assert.ok(rounds >= 2, sku);
        sent += rounds;
        received += rounds;
      }
      await eventually("both applications tell", () => {
        const [server, client] = [toldBy("offers-0"), toldBy("storefront-0")];
        return server["sent"] === sent && client["received"] === sent;
      });
      assert.deepEqual(toldBy("offers-0"), { received, sent });
      assert.deepEqual(toldBy("storefront-0"), { sent: received, received: sent });
      for (const [instance, reporter] of [
        ["storefront-0", "source"],
        ["offers-0", "destination"],
      ] as const) {
        let counted: readonly number[] = [];
        await eventually(`${instance} counts`, async () => {
          counted = [
            await countedBy(instance, reporter, "istio_request_messages_total"),
            await countedBy(instance, reporter, "istio_response_messages_total"),
          ];
          return counted[0] === received && counted[1] === sent;
        }).catch(() => {});
        assert.deepEqual(counted, [received, sent], instance);
      }
    });

    test("bytes of the database's connection are counted as both ends count them", async () => {
      const post = { method: "POST", headers: { "content-type": "application/json" } };
      for (let order = 0; order < 5; order++) {
        await ask("api/cart?id=me", { ...post, body: JSON.stringify({ sku: "mug" }) });
        await ask("api/checkout?id=me", post);
      }
      const same = (): boolean => {
        const [server, client] = [toldBy("orders-0"), toldBy("checkout-0")];
        const isSame =
          server["received"] === client["sent"] && server["sent"] === client["received"];
        return isSame && (server["received"] ?? 0) > 5 * 60;
      };
      await eventually("both applications tell the same", same);
      for (const [instance, reporter] of [
        ["checkout-0", "source"],
        ["orders-0", "destination"],
      ] as const) {
        let counted: Counts = {};
        // Envoy counts when the connection ends, and it lives for some seconds.
        await eventually(
          `${instance} counts`,
          async () => {
            counted = {
              received: await countedBy(instance, reporter, "istio_tcp_received_bytes_total"),
              sent: await countedBy(instance, reporter, "istio_tcp_sent_bytes_total"),
            };
            const told = toldBy("orders-0");
            return counted["received"] === told["received"] && counted["sent"] === told["sent"];
          },
          30_000,
        ).catch(() => {});
        assert.deepEqual(counted, toldBy("orders-0"), instance);
      }
    });

    test("the console shows the rates of messages and bytes", async () => {
      const shown = await eventually(
        "two edges",
        async () => {
          await ask("api/offers?take=4");
          const answer = await askConsole(mesh, "/api/graph?window=60s");
          const { edges }: GraphAnswer = JSON.parse(await answer.text());
          const find = (target: string) => edges.find((edge) => edge.target.endsWith(target));
          const [offers, orders] = [find("/offers"), find("/orders")];
          const messages = offers?.traffic.responseMessagesPerSecond ?? 0;
          const bytes = orders?.traffic.tcpSentBytesPerSecond ?? 0;
          return messages > 0 && bytes > 0 && { offers, orders };
        },
        30_000,
      );
      await eventually(
        "the mesh in one line tells of both",
        async () => {
          await ask("api/offers?take=4");
          const answer = await askConsole(mesh, "/api/status");
          const { sentence }: StatusAnswer = JSON.parse(await answer.text());
          return / gRPC messages\/s, [\d.]+ k?B\/s over TCP and UDP$/.test(sentence);
        },
        30_000,
      );
      assert.equal(shown.offers?.protocol, "grpc");
      assert.equal(shown.orders?.protocol, "tcp");
      assert.deepEqual([shown.offers.mtls, shown.orders.mtls], ["mutual", "mutual"]);
      const answer = await askConsole(mesh, "/api/services/default/offers?window=5m");
      const { charts }: ServiceAnswer = JSON.parse(await answer.text());
      const messages = charts.find(({ title }) => title === "gRPC messages");
      assert.deepEqual(
        messages?.lines.map(({ label }) => label),
        ["by callers", "by the service"],
      );
    });
  });
}
