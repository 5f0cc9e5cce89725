/** A Compose file in place of heddle.yaml: what it says runs, by its names, and a saved change is followed. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { faultMode, settled } from "./support/faults.ts";
import { eventually, startMesh } from "./support/mesh.ts";

const compose = (scale: number): string => `
name: composed
x-heddle: { console: { port: 0 } }
services:
  edge:
    labels: { heddle.gateway: "true", heddle.label.istio: ingressgateway }
    ports: ["0:80"]
  web:
    command: [node, web.mjs]
    environment: { GREETING: hello }
    expose: ["8080"]
    depends_on: [api]
    labels: { heddle.protocol: HTTP }
  api:
    command: [{exec}, "9090"]
    expose: ["9090"]
    scale: ${scale}
    labels: { heddle.protocol: HTTP, heddle.service-account: keeper }
`;
const web = `
import { createServer } from "node:http";
createServer(async (_, response) => {
  const answer = await fetch("http://api:9090/");
  response.end(process.env.GREETING + " from " + JSON.parse(await answer.text()).from);
}).listen(process.env.PORT);
`;
const routes = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web }
spec: { hosts: ["*"], gateways: [edge], http: [{ route: [{ destination: { host: web } }] }] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

test(`a mesh of a Compose file, ${faultMode}`, async () => {
  await using mesh = await startMesh({
    mode: faultMode,
    processes: "heddle",
    files: { "compose.yaml": compose(1), "web.mjs": web, "routes.yaml": routes },
  });
  const ask = async (): Promise<string> => await (await fetch(mesh.gatewayUrls[0] ?? "")).text();
  assert.equal(await ask(), "hello from api-0");
  mesh.write("compose.yaml", compose(2));
  await settled(mesh, 4);
  await eventually("the second is asked", async () => (await ask()) === "hello from api-1");
});
