/** :15020 answers with the proxy's metrics and, where heddle.yaml says so, the application's own. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, meshModes, type TestMesh } from "./support/mesh.ts";
import { dataPlanes, drive, startMetricsMesh } from "./support/metrics-mesh.ts";
import { askSidecar, parseSamples, scrape, total } from "./support/proxy-metrics.ts";

const serverLabels = "labels: { version: v1, service.istio.io/canonical-revision: blue }";

for (const mode of meshModes) {
  for (const dataPlane of dataPlanes) {
    describe(`an application's metrics, ${mode}, ${dataPlane}`, () => {
      let mesh: TestMesh;
      before(async () => {
        const declared = "metrics: { port: 8080, path: /app/metrics }";
        const replace = { [serverLabels]: `${serverLabels}\n  ${declared}` };
        mesh = await startMetricsMesh({ mode, dataPlane, replace });
      });
      after(async () => {
        await mesh.stop();
      });

      const merged = async (name: string): Promise<string> =>
        await askSidecar(mesh, { name }, { port: "mergedMetrics", path: "/stats/prometheus" });

      test("stand beside the proxy's on the port of merged metrics", async () => {
        await drive(mesh, [{ url: "http://server/status/200", count: 3 }]);
        const samples = await eventually("the proxy has counted", async () => {
          const all = parseSamples(await merged("server-0"));
          return total(all, "istio_requests_total", { reporter: "destination" }) === 3 && all;
        });
        assert.equal(total(samples, "shop_orders_total", { kind: "web" }), 3);
      });

      test("are not among the proxy's own, nor merged where nothing is declared", async () => {
        assert.equal(total(await scrape(mesh, { name: "server-0" }), "shop_orders_total"), 0);
        assert.equal(total(parseSamples(await merged("plain-0")), "shop_orders_total"), 0);
      });

      test("may be missing: the proxy's are served, and the failure is counted", async () => {
        const failures = "istio_agent_scrape_failures_total";
        assert.equal(total(parseSamples(await merged("server-0")), failures), 0);
        const text = "metrics: { port: 8080, path: /status/500 }";
        mesh.write(
          "heddle.yaml",
          readFileSync(join(mesh.directory, "heddle.yaml"), "utf8").replace(
            /metrics: \{.*\}/,
            text,
          ),
        );
        await eventually(
          "the failure is counted",
          async () => {
            const all = await merged("server-0").then(parseSamples, () => []);
            return total(all, failures, { type: "application" }) > 0 && all;
          },
          30_000,
        );
      });

      test("are left out with enablePrometheusMerge: false", async () => {
        const file = join(mesh.directory, "heddle.yaml");
        const refusing = `meshConfig:\n  enablePrometheusMerge: false\n`;
        const text = readFileSync(file, "utf8").replace("/status/500", "/app/metrics");
        mesh.write("heddle.yaml", text.replace("meshConfig:\n", refusing));
        const received = { reporter: "destination" };
        const samples = await eventually(
          "a request to the new instance is counted",
          async () => {
            await drive(mesh, [{ url: "http://server/status/200", count: 1 }]).catch(() => {});
            const all = await merged("server-0").then(parseSamples, () => []);
            const failures = total(all, "istio_agent_scrape_failures_total");
            return failures === 0 && total(all, "istio_requests_total", received) > 0 && all;
          },
          30_000,
        );
        assert.deepEqual(
          samples.filter(({ name }) => name === "shop_orders_total"),
          [],
        );
      });
    });
  }
}
