/**
 * Policies as operators write them, judged by what reaches the application: PeerAuthentication at every
 * width, AuthorizationPolicy with every field, paths that try to get around a DENY, and what happens
 * to a policy that breaks. Both data planes must agree. Not in explicit mode: the filters that a policy
 * becomes are the same there, and that they stand at its inbound listeners (allowed, denied, STRICT) is
 * asked by the traffic suite in every mode.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { askConsole, eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import {
  capturedCases,
  echoCommand,
  enterNetworkOf,
  insidePid,
  receivedBy,
} from "./support/security-mesh.ts";

const run = promisify(execFile);

const meshFile = (normalization: string): string => `
mesh: policies
console: { port: 0 }
meshConfig: { pathNormalization: { normalization: ${normalization} } }
workloads:
- name: server
  serviceAccount: server
  command: ${echoCommand("http:8080 http:8081")}
  ports:
  - { name: http, port: 80, targetPort: 8080, protocol: HTTP }
  - { name: http-two, port: 81, targetPort: 8081, protocol: HTTP }
- name: alice
  serviceAccount: alice
  command: [{exec}]
- name: bob
  namespace: other
  serviceAccount: bob
  command: [{exec}]
`;

const peerAuthentication = (namespace: string, name: string, spec: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;
const authorization = (spec: string, namespace = "default", name = "policy"): string => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;
const forServer = "selector: { matchLabels: { app: server } }";

/** What a caller saw for one question: a status, or `000` when there was no answer. */
type Asked = Readonly<Record<string, string>>;

// What a DENY of /admin does to each spelling. `denied`: 403. `refused`: the request was malformed.
// Otherwise the path as the application sees it, which the policy of Istio's meaning does not name.
// `envoy`: what Envoy makes of it, where it is known to differ (docs/data-planes.md).
interface Spelling {
  readonly base: string;
  readonly merging: string;
  readonly envoy?: string;
}
const spellings: Readonly<Record<string, Spelling>> = {
  "/admin": { base: "denied", merging: "denied" },
  "/admin/": { base: "denied", merging: "denied" },
  "/admin?x=1": { base: "denied", merging: "denied" },
  "/./admin": { base: "denied", merging: "denied" },
  "/x/../admin": { base: "denied", merging: "denied" },
  "/x/%2e%2e/admin": { base: "denied", merging: "denied" },
  "/%2e/admin": { base: "denied", merging: "denied" },
  "/%61dmin": { base: "denied", merging: "denied" },
  "/adm%69n/": { base: "denied", merging: "denied" },
  "\\admin": { base: "refused", merging: "refused" },
  "/x\\..\\admin": { base: "denied", merging: "denied" },
  "/admin/../admin": { base: "denied", merging: "denied" },
  "/../../admin": { base: "denied", merging: "denied" },
  "//admin": { base: "//admin", merging: "denied" },
  "///admin//": { base: "///admin//", merging: "denied" },
  "/x//../admin": { base: "/x/admin", merging: "/x/admin" },
  "/%2Fadmin": { base: "/%2Fadmin", merging: "denied" },
  "/x%2F..%2Fadmin": { base: "/x%2F..%2Fadmin", merging: "denied" },
  "/x%5C..%5Cadmin": { base: "/x%5C..%5Cadmin", merging: "denied" },
  "/%2561dmin": { base: "/%2561dmin", merging: "/%2561dmin" },
  "/admin%00": { base: "refused", merging: "refused" },
  "/admin;a=b": { base: "/admin;a=b", merging: "/admin;a=b" },
  "/x/..;/admin": { base: "denied", merging: "denied" },
  "/x/..;a=b/admin": { base: "denied", merging: "denied" },
  "/.;/admin": { base: "denied", merging: "denied" },
  "/x/%2e%2e;/admin": { base: "denied", merging: "denied", envoy: "/x/..;/admin" },
  "/a;/../admin": { base: "denied", merging: "denied" },
  "/ADMIN": { base: "/ADMIN", merging: "/ADMIN" },
  "/admin.": { base: "/admin.", merging: "/admin." },
  "/admin%2e": { base: "/admin.", merging: "/admin." },
  "/admin#x": { base: "refused", merging: "refused" },
  "http://server/admin": { base: "denied", merging: "denied" },
};

for (const { mode, dataPlane, title } of capturedCases) {
  describe(`policies: ${title}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = { "heddle.yaml": meshFile("BASE"), "policies.yaml": "" };
      mesh = await startMesh({ mode, dataPlane, processes: "heddle", files });
    });
    after(async () => {
      await mesh.stop();
    });

    const curl = "curl -s -o /dev/null -m 5 -w '%{http_code}'";
    const ask = async (who: "alice" | "bob", words: string): Promise<string> => {
      const namespace = who === "bob" ? "other" : "default";
      const { stdout } = await mesh.workload(`${who}-0`, namespace).exec(`${curl} ${words}`);
      return stdout;
    };
    /** Sends bytes to the server's port from a place without a sidecar: what comes back. */
    const outsider = async (bytes: string, port = 8080): Promise<string> => {
      const script = `const s=require("net").connect(${port},"198.18.0.2");s.write(Buffer.from("${Buffer.from(bytes).toString("hex")}","hex"));s.on("data",d=>process.stdout.write(d)).on("error",()=>{}).on("close",()=>process.exit())`;
      const words = [...enterNetworkOf(insidePid(mesh)), process.execPath, "-e", script];
      return (await run(words[0] ?? "", words.slice(1))).stdout;
    };
    const plain = async (port = 8080): Promise<string> => {
      const answer = await outsider(get("/plain"), port);
      return /^HTTP\/1.1 (\d+)/.exec(answer)?.[1] ?? "none";
    };
    const get = (target: string): string =>
      `GET ${target} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n`;
    /** Writes the policies and waits until every question has its answer. */
    const settle = async (policies: string, questions: () => Promise<Asked>, wanted: Asked) => {
      mesh.write("policies.yaml", policies);
      let seen: Asked = {};
      await eventually("the policies hold", async () => {
        seen = await questions();
        return JSON.stringify(seen) === JSON.stringify(wanted);
      }).catch(() => assert.deepEqual(seen, wanted));
    };

    test("PeerAuthentication: root namespace, namespace, selector and port, from wide to narrow", async () => {
      const questions = async (): Promise<Asked> => ({
        plain: await plain(),
        plainTwo: await plain(8081),
        alice: await ask("alice", "http://server/"),
      });
      const mesh_ = peerAuthentication("istio-system", "default", "{ mtls: { mode: STRICT } }");
      const widths: readonly (readonly [string, Asked])[] = [
        ["", { plain: "200", plainTwo: "200", alice: "200" }],
        [mesh_, { plain: "none", plainTwo: "none", alice: "200" }],
        [
          mesh_ + peerAuthentication("default", "default", "{ mtls: { mode: PERMISSIVE } }"),
          { plain: "200", plainTwo: "200", alice: "200" },
        ],
        [
          peerAuthentication("default", "default", "{ mtls: { mode: PERMISSIVE } }") +
            peerAuthentication("default", "server", `{ ${forServer}, mtls: { mode: STRICT } }`),
          { plain: "none", plainTwo: "none", alice: "200" },
        ],
        [
          peerAuthentication(
            "default",
            "server",
            `{ ${forServer}, mtls: { mode: STRICT }, portLevelMtls: { 8081: { mode: DISABLE } } }`,
          ),
          { plain: "none", plainTwo: "200", alice: "200" },
        ],
        ["", { plain: "200", plainTwo: "200", alice: "200" }],
      ];
      for (const [policies, wanted] of widths) await settle(policies, questions, wanted);
    });

    test("AuthorizationPolicy: who, what, where; DENY before ALLOW; empty denies, {} allows", async () => {
      const questions = async (): Promise<Asked> => ({
        alice: await ask("alice", "http://server/a"),
        bob: await ask("bob", "http://server.default/a"),
        plain: await plain(),
        post: await ask("alice", "-X POST http://server/a"),
        prefix: await ask("alice", "http://server/pre/x"),
        suffix: await ask("alice", "http://server/x.html"),
        host: await ask("alice", "-H 'Host: Server.Default:80' http://server.default/a"),
        two: await ask("alice", "http://server:81/a"),
      });
      const all = (status: string): Asked => ({
        alice: status,
        bob: status,
        plain: status,
        post: status,
        prefix: status,
        suffix: status,
        host: status,
        two: status,
      });
      const only = (...names: readonly string[]): Asked =>
        Object.fromEntries(
          Object.keys(all("")).map((name) => [name, names.includes(name) ? "200" : "403"]),
        );
      const allow = (rule: string): string =>
        authorization(`{ ${forServer}, action: ALLOW, rules: [${rule}] }`);
      const deny = (rule: string): string =>
        authorization(`{ ${forServer}, action: DENY, rules: [${rule}] }`, "default", "deny");
      const aliceId = "cluster.local/ns/default/sa/alice";
      const fromAlice = ["alice", "post", "prefix", "suffix", "host", "two"];
      const cases: readonly (readonly [string, Asked])[] = [
        [authorization("{}"), all("403")],
        [authorization("{}") + authorization("{ rules: [{}] }", "default", "all"), all("200")],
        [authorization("{}", "istio-system"), all("403")],
        [authorization("{ selector: { matchLabels: { app: nobody } } }"), all("200")],
        [allow(`{ from: [{ source: { principals: ["${aliceId}"] } }] }`), only(...fromAlice)],
        [allow(`{ from: [{ source: { namespaces: [other] } }] }`), only("bob")],
        [allow(`{ from: [{ source: { principals: ["*"] } }] }`), only(...fromAlice, "bob")],
        [deny(`{ from: [{ source: { notPrincipals: ["${aliceId}"] } }] }`), only(...fromAlice)],
        [allow("{ to: [{ operation: { methods: [POST] } }] }"), only("post")],
        [
          allow("{ to: [{ operation: { paths: [/a] } }] }"),
          only("alice", "bob", "post", "host", "two"),
        ],
        [allow('{ to: [{ operation: { paths: ["/pre/*"] } }] }'), only("prefix")],
        [allow('{ to: [{ operation: { paths: ["*.html"] } }] }'), only("suffix")],
        [allow("{ to: [{ operation: { hosts: [server.default] } }] }"), only("bob")],
        [
          allow('{ to: [{ operation: { hosts: [server.default, "server.default:*"] } }] }'),
          only("bob", "host"),
        ],
        [
          allow("{}") + deny("{ to: [{ operation: { hosts: [server.default] } }] }"),
          { ...all("200"), bob: "403", host: "403" },
        ],
        [
          deny("{ from: [{ source: { serviceAccounts: [alice] } }] }"),
          { ...only("bob"), plain: "200" },
        ],
        [allow('{ to: [{ operation: { ports: ["8081"] } }] }'), only("two")],
        [
          allow("{}") + deny("{ to: [{ operation: { methods: [POST] } }] }"),
          { ...all("200"), post: "403" },
        ],
        ["", all("200")],
      ];
      for (const [policies, wanted] of cases) await settle(policies, questions, wanted);
    });

    for (const setting of ["base", "merging"] as const) {
      test(`no spelling of a path gets around a DENY: ${setting}`, async () => {
        const normalization = setting === "base" ? "BASE" : "DECODE_AND_MERGE_SLASHES";
        mesh.write("heddle.yaml", meshFile(normalization));
        mesh.write(
          "policies.yaml",
          authorization(
            `{ ${forServer}, action: DENY, rules: [{ to: [{ operation: { paths: [/admin, "/admin/*"] } }] }] }`,
          ),
        );
        const outcome = async (target: string): Promise<string> => {
          const answer = await outsider(get(target));
          if (answer.startsWith("HTTP/1.1 403")) return "denied";
          if (/^HTTP\/1.1 (400|404)/.test(answer)) return "refused";
          return /"url":"([^"]*)"/.exec(answer)?.[1] ?? `? ${answer.slice(0, 60)}`;
        };
        await eventually("the policy holds", async () => {
          const merges = (await outcome("//admin")) === "denied";
          return (await outcome("/admin")) === "denied" && merges === (setting === "merging");
        });
        const earlier = receivedBy(mesh, "server-0").length;
        const seen: Record<string, string> = {};
        const wanted: Record<string, string> = {};
        for (const [target, expected] of Object.entries(spellings)) {
          seen[target] = await outcome(target);
          const { envoy = expected[setting] } = expected;
          wanted[target] = dataPlane === "envoy" ? envoy : expected[setting];
        }
        assert.deepEqual(seen, wanted);
        const reached = receivedBy(mesh, "server-0").slice(earlier);
        assert.equal(/^GET \/admin[/? ].*/m.exec(reached)?.[0], undefined);
        mesh.write("policies.yaml", "");
        await eventually("the policy is gone", async () => (await outcome("/admin")) !== "denied");
      });
    }

    test("a broken policy keeps its last good version; one that never was good denies", async () => {
      const good = authorization(
        `{ ${forServer}, action: ALLOW, rules: [{ to: [{ operation: { paths: [/kept] } }] }] }`,
      );
      const questions = async (): Promise<Asked> => ({
        kept: await ask("alice", "http://server/kept"),
        other: await ask("alice", "http://server/other"),
      });
      await settle(good, questions, { kept: "200", other: "403" });
      // A misspelt field would, if it were ignored, allow everything.
      mesh.write("policies.yaml", good.replace("paths:", "path:"));
      await eventually("the problem is told", async () =>
        (await problems()).includes("policies.yaml"),
      );
      assert.deepEqual(await questions(), { kept: "200", other: "403" });
      await settle("", questions, { kept: "200", other: "200" });
      await settle(
        good.replace("paths:", "path:").replace("name: policy", "name: fresh"),
        questions,
        { kept: "403", other: "403" },
      );
      await settle("", questions, { kept: "200", other: "200" });
    });

    const problems = async (): Promise<string> =>
      await (await askConsole(mesh, "/api/config")).text();

    test("a policy in a namespace that only looks like the root is a problem", async () => {
      mesh.write(
        "policies.yaml",
        peerAuthentication("istio-config", "default", "{ mtls: { mode: STRICT } }"),
      );
      await eventually("the problem is told", async () =>
        (await problems()).includes("policy.not-the-root-namespace"),
      );
      assert.equal(await plain(), "200");
      mesh.write("policies.yaml", "");
    });
  });
}
