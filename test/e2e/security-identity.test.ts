/**
 * Identities on the wire: what certificates say, who is refused and how both ends tell, that nobody
 * becomes somebody else at the authority or on xDS, and that no private key is ever in the control
 * plane. Not in explicit mode: keys lie open to local processes there, as `status` says, and what the
 * authority and xDS answer to a thief of nothing but a token is in security-impersonation.test.ts,
 * which that mode alone makes possible.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { openSync, readFileSync, readSync, closeSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { commonName } from "../../src/identity/x509/names.ts";
import { decodePem, encodePem } from "../../src/identity/x509/pem.ts";
import { keyIdOf, signCertificate, subjectOf } from "../../src/identity/x509/certificate.ts";
import { generateKey } from "../../src/identity/key.ts";
import { makeTestAuthority } from "../support/test-certificates.ts";
import { commandOf } from "./support/faults.ts";
import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import {
  captureLinks,
  capturedCases,
  echoCommand,
  enterNetworkOf,
  insidePid,
  receivedBy,
} from "./support/security-mesh.ts";

const run = promisify(execFile);

const meshFile = `
mesh: identity
console: { port: 0 }
workloads:
- name: server
  serviceAccount: server
  command: ${echoCommand("http:8080")}
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  serviceAccount: client
  command: [{exec}]
`;
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;
const server = "198.18.0.2";

interface Stored {
  readonly privateKeyPem: string;
  readonly chainPem: string;
  readonly rootPem: string;
}

for (const { mode, dataPlane, title } of capturedCases) {
  describe(`identity: ${title}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = { "heddle.yaml": meshFile, "strict.yaml": strict };
      mesh = await startMesh({ mode, dataPlane, processes: "heddle", files });
    });
    after(async () => {
      await mesh.stop();
    });

    const identityFile = (instance: string): string =>
      join(mesh.stateDir, "i", `${instance}.default`, "identity.json");
    const identityOf = (instance: string): Stored =>
      JSON.parse(readFileSync(identityFile(instance), "utf8"));
    const proxyLog = (instance: string): string => mesh.log(`${instance}.default.proxy.log`);

    /** Shakes hands with the server's inbound port as this client, sends a request, returns the talk. */
    const shake = async (who: { cert: string; key: string } | undefined, line: string) => {
      const folder = join(mesh.directory, "..");
      const files = who === undefined ? [] : [join(folder, "cert.pem"), join(folder, "key.pem")];
      writeFileSync(files[0] ?? join(folder, "none"), who?.cert ?? "");
      writeFileSync(files[1] ?? join(folder, "none"), who?.key ?? "");
      const script =
        `const fs=require("fs"),tls=require("tls");const [c,k]=${JSON.stringify(files)};` +
        `const s=tls.connect({host:"${server}",port:8080,servername:"outbound_.80_._.server.default.svc.cluster.local",` +
        `ALPNProtocols:["istio"],rejectUnauthorized:false,...(c?{cert:fs.readFileSync(c),key:fs.readFileSync(k)}:{})});` +
        `s.on("secureConnect",()=>{const x=s.getPeerX509Certificate();console.log(s.getProtocol());` +
        `console.log(x.toString());console.log(s.getPeerCertificate(true).issuerCertificate?.raw?.toString("base64"));` +
        `s.write(${JSON.stringify(line)})});` +
        `s.on("data",d=>{process.stdout.write(d);s.end()});s.on("error",e=>console.log("error",e.code)).on("close",()=>process.exit())`;
      const words = [...enterNetworkOf(insidePid(mesh)), process.execPath, "-e", script];
      return (await run(words[0] ?? "", words.slice(1))).stdout;
    };
    const get = (path: string): string =>
      `GET /${path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n`;

    /** A certificate of the mesh's own root, which only this test could sign. */
    const issue = (uris: readonly string[], notAfterMs: number): { cert: string; key: string } => {
      const key = generateKey();
      const ca = join(mesh.stateDir, "ca");
      const rootPem = readFileSync(join(ca, "root-cert.pem"), "utf8");
      const [root = new Uint8Array()] = decodePem("CERTIFICATE", rootPem);
      const { der } = signCertificate(
        {
          subject: commonName("forged.default"),
          issuer: subjectOf(root),
          spki: key.publicKey.export({ type: "spki", format: "der" }),
          notBeforeMs: Date.now() - 7_200_000,
          notAfterMs,
          purpose: "workload",
          alternativeNames: uris.map((uri) => ({ kind: "uri", uri }) as const),
          issuerKeyId: keyIdOf(
            new X509Certificate(rootPem).publicKey.export({ type: "spki", format: "der" }),
          ),
        },
        createPrivateKey(readFileSync(join(ca, "root-key.pem"), "utf8")),
      );
      return { cert: encodePem("CERTIFICATE", der), key: key.privateKeyPem };
    };
    const hourMs = 3_600_000;

    test("a certificate has one SPIFFE id, its instance as subject, and a day to live; TLS is 1.3", async () => {
      const { chainPem: cert, privateKeyPem: key } = identityOf("client-0");
      const talk = await shake({ cert, key }, get("as-client"));
      assert.match(talk, /^TLSv1.3\n/);
      assert.match(talk, /By=spiffe:\/\/cluster.local\/ns\/default\/sa\/server/);
      const leaf = new X509Certificate(/-----BEGIN[^]*?END CERTIFICATE-----/.exec(talk)?.[0] ?? "");
      assert.equal(leaf.subjectAltName, "URI:spiffe://cluster.local/ns/default/sa/server");
      assert.equal(leaf.subject, "CN=server-0.default");
      assert.equal(leaf.ca, false);
      const hours = (leaf.validToDate.getTime() - leaf.validFromDate.getTime()) / hourMs;
      assert(hours > 23.9 && hours < 24.1, String(hours));
      assert.deepEqual([...(leaf.keyUsage ?? [])].toSorted(), [
        "1.3.6.1.5.5.7.3.1",
        "1.3.6.1.5.5.7.3.2",
      ]);
    });

    test("whoever is refused leaves no byte, and the server says who and why", async () => {
      const foreign = await (
        await makeTestAuthority()
      ).issue({
        uris: ["spiffe://cluster.local/ns/default/sa/client"],
      });
      const id = "spiffe://cluster.local/ns/default/sa/client";
      const refused = {
        expired: issue([id], Date.now() - hourMs),
        unknown: { cert: foreign.chainPem, key: foreign.privateKeyPem },
        nobody: undefined,
      };
      for (const [path, who] of Object.entries(refused)) {
        const talk = await shake(who, get(`refused-${path}`));
        assert.doesNotMatch(talk, /"from":"server-0"/, path);
      }
      const plain = [...enterNetworkOf(insidePid(mesh)), "curl", "-s", "-m", "3"];
      const curl = run(plain[0] ?? "", [...plain.slice(1), `http://${server}:8080/refused-plain`]);
      await assert.rejects(curl);
      assert.doesNotMatch(receivedBy(mesh, "server-0"), /refused-/);
      const expected =
        dataPlane === "heddle"
          ? [
              /handshake .*tls-expired.*198\.18\.0\.1:\d+.*sni outbound_\.80_.*presented spiffe:\/\/cluster.local\/ns\/default\/sa\/client.*valid until/,
              /handshake .*tls-unknown-root.*presented spiffe:/,
              /handshake .*tls-no-certificate/,
              /no filter chain takes this connection.*reason=plaintext/,
            ]
          : [
              /handshake.*peer=198\.18\.0\.1:\d+.*sni=outbound_\.80_.*(?:has_expired|expired|CERTIFICATE_VERIFY_FAILED)/,
              /handshake.*(?:CERTIFICATE_VERIFY_FAILED).*/,
              /handshake.*(?:PEER_DID_NOT_RETURN_A_CERTIFICATE)/,
              /no filter chain takes this connection/,
            ];
      for (const line of expected) {
        await eventually(`the log says ${line}`, () => line.test(proxyLog("server-0")));
      }
      const metrics = await run(plain[0] ?? "", [
        ...plain.slice(1),
        `http://${server}:15090/stats/prometheus`,
      ]);
      const total = (name: string): number =>
        metrics.stdout
          .split("\n")
          .filter((row) => row.startsWith(`envoy_listener_${name}{`))
          .reduce((sum, row) => sum + Number(row.slice(row.lastIndexOf(" ") + 1)), 0);
      assert.equal(total("ssl_fail_verify_error"), 2);
      assert.equal(total("ssl_fail_verify_no_cert"), 1);
      assert.equal(total("no_filter_chain_match"), 1);
    });

    test("two SPIFFE ids in one certificate are refused; Envoy takes what the mesh's root has signed", async () => {
      const ids = ["client", "server"].map((one) => `spiffe://cluster.local/ns/default/sa/${one}`);
      const talk = await shake(issue(ids, Date.now() + hourMs), get("two-ids"));
      assert.equal(talk.includes('"from":"server-0"'), dataPlane === "envoy", talk);
    });

    test("no private key is in the control plane's memory or traffic", async () => {
      const capture = await captureLinks(insidePid(mesh));
      const before_ = identityOf("client-0").chainPem;
      writeFileSync(identityFile("client-0"), "");
      process.kill(mesh.workload("client-0").sidecarPid, "SIGKILL");
      await eventually("a new certificate", () => {
        try {
          return identityOf("client-0").chainPem !== before_;
        } catch {
          return false; // not written yet
        }
      });
      const traffic = await capture.stop();
      const control = mesh.processes().find((pid) => commandOf(pid).includes("control"));
      assert(control !== undefined);
      for (const instance of ["client-0", "server-0"]) {
        const pem = identityOf(instance).privateKeyPem;
        const scalar = Buffer.from(
          String(createPrivateKey(pem).export({ format: "jwk" }).d),
          "base64url",
        );
        const base64 = pem.split("\n")[1] ?? "";
        assert.equal(scalar.length, 32);
        for (const needle of [scalar, Buffer.from(base64)]) {
          assert.equal(traffic.includes(needle.toString("latin1")), false);
          assert.equal(isInMemory(control, needle), false, `${instance}'s key is in memory`);
        }
      }
      // The search finds what is there: the public root.
      const root = identityOf("server-0").rootPem.split("\n")[2] ?? "";
      assert.equal(isInMemory(control, Buffer.from(root)), true);
    });

    /** The client's counters of servers whose certificate did not hold. */
    const failedNames = async (): Promise<string> => {
      const words = [...enterNetworkOf(insidePid(mesh)), "curl", "-s", "-m", "3"];
      const { stdout } = await run(words[0] ?? "", [
        ...words.slice(1),
        "http://198.18.0.3:15090/stats/prometheus",
      ]);
      const wanted = /^envoy_cluster_ssl_fail_verify_(?:san|error)\{.*pretend.* [1-9]/;
      return stdout
        .split("\n")
        .filter((row) => wanted.test(row))
        .join("\n");
    };

    test("a server with another service account is refused by its clients, who tell", async () => {
      // The endpoint is the server; whoever wrote this says that somebody else runs there.
      mesh.write(
        "pretend.yaml",
        `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: pretend, namespace: default }
spec:
  hosts: [pretend.example]
  addresses: [198.19.200.1]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  location: MESH_INTERNAL
  resolution: STATIC
  subjectAltNames: ["spiffe://cluster.local/ns/default/sa/intruder"]
  endpoints: [{ address: ${server}, ports: { http: 8080 } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: pretend, namespace: default }
spec: { host: pretend.example, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }
`,
      );
      let answer = "";
      await eventually("the client refuses", async () => {
        const asked = await mesh
          .workload("client-0")
          .exec(
            "curl -s -m 5 -w ' %{http_code}' -H 'Host: pretend.example' http://198.19.200.1/forged",
          );
        answer = asked.stdout + (await failedNames());
        return / 503envoy_cluster_ssl_fail_verify_\w+\{[^}]*pretend.*\} [1-9]/.test(answer);
      }).catch(() => assert.fail(answer));
      assert.doesNotMatch(receivedBy(mesh, "server-0"), /GET \/forged/);
      const told =
        dataPlane === "heddle"
          ? /a TLS handshake with a server failed cluster=\S*pretend\S* code=tls-wrong-identity reason="TLS with 198\.18\.0\.2:8080 failed: .*\(sni \S+, presented spiffe:\/\/cluster\.local\/ns\/default\/sa\/server, valid until .*\)"/
          : /a TLS handshake with a server failed: peer=198\.18\.0\.2:8080 cluster=\S*pretend\S* .*reason=TLS_error:\S*CERTIFICATE_VERIFY_FAILED/;
      const line = (): string | undefined => told.exec(proxyLog("client-0"))?.[0];
      await eventually("the client's log says whom it refused", line).catch(() =>
        assert.fail(proxyLog("client-0").split("\n").slice(-20).join("\n")),
      );
      // Its own service goes on, with the identity that is behind it.
      const { stdout: own } = await mesh
        .workload("client-0")
        .exec("curl -s -m 5 http://server/own");
      assert.match(own, /"from":"server-0"/);
    });
  });
}

/** Reads what another process has mapped and looks for bytes, as a core dump would show them. */
function isInMemory(pid: number, needle: Buffer): boolean {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from = "", to = "", flags = ""] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
      if (!flags.startsWith("rw")) continue;
      const start = Number.parseInt(from, 16);
      const bytes = Buffer.alloc(Math.min(Number.parseInt(to, 16) - start, 512 << 20));
      if (readAt(memory, bytes, start).includes(needle)) return true;
    }
    return false;
  } finally {
    closeSync(memory);
  }
}

function readAt(file: number, bytes: Buffer, position: number): Buffer {
  try {
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, position));
  } catch {
    return Buffer.alloc(0); // reserved, or gone
  }
}
