/** Which answers get an endpoint ejected, where a cluster says so itself, beside Envoy on the same file. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

function answer(_: number, request: IncomingMessage, response: ServerResponse): void {
  response.statusCode = Number(request.headers["x-status"] ?? 200);
  if (request.headers["x-bad"] !== undefined) response.setHeader("x-error", "yes");
  response.end();
}

const servers = new Servers(1, answer);
let planes: readonly Plane[] = [];

const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const headers = (...all: readonly string[]): string =>
  `http_response_headers_match: {headers: [${all.map((one) => `{${one}}`).join(", ")}]}`;
const isBad = headers("name: x-error, present_match: true");
const isTeapot = headers('name: ":status", string_match: {exact: "418"}');

/** A matcher, and for each kind of answer whether it ejects who gives it. */
const matchers: readonly (readonly [matcher: string, ...ejects: readonly boolean[]])[] = [
  ["", false, false, true, true],
  [isBad, false, true, false, true],
  [isTeapot, false, false, false, false],
  [`not_match: {${isBad}}`, true, false, true, false],
  [`or_match: {rules: [{${isTeapot}}, {${isBad}}]}`, false, true, false, true],
  [
    `and_match: {rules: [{${headers('name: ":status", string_match: {prefix: "5"}')}}, {${isBad}}]}`,
    false,
    false,
    false,
    true,
  ],
  ["any_match: true", true, true, true, true],
];
const answers: readonly Readonly<Record<string, string>>[] = [
  {},
  { "x-bad": "1" },
  { "x-status": "500" },
  { "x-status": "500", "x-bad": "1" },
];

function clusterOf(name: string, matcher: string): string {
  const protocol =
    matcher === ""
      ? ""
      : `, typed_extension_protocol_options: {${options}: {"@type": type.googleapis.com/${options}, explicit_http_config: {http_protocol_options: {}}, outlier_detection: {error_matcher: {${matcher}}}}}`;
  return `{name: ${name}, connect_timeout: 1s, common_lb_config: {healthy_panic_threshold: {value: 0}}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}, outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: 300s}${protocol}}`;
}

before(async () => {
  await servers.open();
  const names = matchers.flatMap(([matcher], i) =>
    answers.map((_, j) => [`m${i}a${j}`, matcher] as const),
  );
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: names.map(([name, matcher]) => clusterOf(name, matcher)),
      routes: names.map(([name]) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

for (const [i, [matcher, ...ejects]] of matchers.entries()) {
  test(`an answer is an error: ${matcher === "" ? "by its status" : matcher}`, async () => {
    for (const plane of planes) {
      for (const [j, asked] of answers.entries()) {
        await plane.ask(`/m${i}a${j}/`, asked);
        let { status } = await plane.ask(`/m${i}a${j}/`);
        // Envoy ejects on another thread.
        for (let again = 0; ejects[j] === true && status === 200 && again < 500; again++) {
          ({ status } = await plane.ask(`/m${i}a${j}/`));
        }
        const shown = `${plane.name}: ${JSON.stringify(asked)}`;
        assert.equal(status, ejects[j] === true ? 503 : 200, shown);
      }
    }
  });
}
