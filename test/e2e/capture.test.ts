/**
 * Capture of a workload's traffic in its own network namespace, with and without root: what is
 * redirected, what is left alone, what the application cannot undo. The sidecar is a stand-in that
 * passes bytes on.
 */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { after, before, describe, test } from "node:test";

import { watchProcessorWait } from "../support/processor-wait.ts";
import { capturingModes, eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import { descendantsOf } from "./support/mesh-processes.ts";

const meshFile = `
mesh: capture
console: { port: 0 }
gateways: [{ name: istio-ingressgateway, ports: [{ port: 80, hostPort: 0 }] }]
workloads:
- name: server
  command: [{exec}, "8080,31999"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  dependsOn: [server]
  command: [{exec}]
`;

const server4 = "198.18.0.3";
const sendUdp = `'${process.execPath}' -e "const s=require('dgram').createSocket('udp4');s.send('x',9999,'198.18.0.3',()=>s.close())"`;
const server6 = "[fd48:6564:646c:12::3]";

for (const mode of capturingModes) {
  describe(`capture, ${mode}`, () => {
    let mesh: TestMesh;
    before(async () => {
      mesh = await startMesh({
        mode,
        processes: "stand-in",
        files: { "heddle.yaml": meshFile },
        provokes: ["undeclared"],
      });
    });
    after(async () => {
      await mesh.stop();
    });

    const client = async (script: string) => await mesh.workload("client-0").exec(script);

    test("any TCP port passes both sidecars, IPv4 and IPv6", async () => {
      for (const target of [`${server4}:8080`, `${server4}:31999`, `${server6}:8080`]) {
        const { stdout } = await client(`curl -s -m 5 'http://${target}/'`);
        const answer: unknown = JSON.parse(stdout);
        assert(typeof answer === "object" && answer !== null && "remoteAddress" in answer, stdout);
        // The inbound sidecar dials over loopback: a captured peer never shows its own address.
        assert.match(String(answer.remoteAddress), /127\.0\.0\.1$|^::1$/, target);
      }
    });

    test("a service address that nobody knows is refused, not sent out", async () => {
      const { code } = await client("curl -s -m 5 http://198.19.255.254/");
      assert.notEqual(code, 0);
      assert.notEqual(code, 28, "it hung until curl gave up");
    });

    test("loopback and the own address reach the application itself", async () => {
      const { stdout } = await mesh
        .workload("server-0")
        .exec(`curl -s http://127.0.0.1:8080/; curl -s http://${server4}:8080/`);
      assert.match(stdout, /127\.0\.0\.1/);
      assert.match(stdout, /198\.18\.0\.3/); // straight over loopback, with the own address
    });

    test("names are asked of the sidecar, over any name server", async () => {
      const ask = "require('dns').resolve4('x.example',(e,a)=>console.log(e?.code??a[0]))";
      const { stdout } = await client(
        `cat /etc/resolv.conf; '${process.execPath}' -e "${ask}"; '${process.execPath}' -e "require('dns').setServers(['9.9.9.9']);${ask}"`,
      );
      assert.match(stdout, /^nameserver 198\.18\.0\.1\nsearch default\.svc\.cluster\.local /);
      assert.equal(stdout.match(/203\.0\.113\.53/g)?.length, 2, stdout);
    });

    test("a large body passes, and links have the host's MTU", async () => {
      const { stdout } = await client(
        `cat /sys/class/net/eth0/mtu 2>/dev/null || ip -o link show eth0; head -c 65536 /dev/zero | curl -s -m 10 --data-binary @- http://${server4}:8080/`,
      );
      assert.match(stdout, /"bytes":65536/);
    });

    test("the uplink reaches the host's network, also where the server speaks first", async (t) => {
      const address = outsideAddress();
      assert(address !== undefined, "this machine has no address besides loopback");
      const { server, port } = await greetingServer();
      t.after(() => server.close());
      const script = `const s=require('net').connect({host:'${address}',port:${port},allowHalfOpen:true});s.end('ping');s.on('data',d=>process.stdout.write(d))`;
      const { stdout } = await client(`'${process.execPath}' -e "${script}"`);
      assert.equal(stdout, "220 ready\nping bye\n");
    });

    test("a server outside may have the number of the uplink's own port; the uplink is nobody's server", async (t) => {
      const { server } = await eventually("the port is free", async () => {
        return await greetingServer(15_099).catch(() => undefined);
      });
      t.after(() => server.close());
      const { stdout } = await client(`curl -s -m 5 --http0.9 http://${outsideAddress()}:15099/`);
      assert.match(stdout, /^220 ready\n/);
      for (const address of ["198.18.0.1", "[fd48:6564:646c:12::1]"]) {
        const own = await client(`curl -s -m 5 --http0.9 http://${address}:15099/`);
        assert.equal(own.stdout, "", address);
        assert.notEqual(own.code, 28, `${address}: it was left waiting`);
      }
    });

    test("the application cannot change rules, mark sockets or leave its namespace", async () => {
      const attempts = {
        "flush the rules": "nft flush ruleset",
        "delete the table": "nft delete table inet heddle",
        "take the link down": "ip link set eth0 down",
        "add an address": "ip addr add 198.18.9.9/16 dev eth0",
        "mark a socket": `python3 -c "import socket; s=socket.socket(); s.setsockopt(1, 36, 0x539)"`,
        "mark a socket from a namespace of its own": `unshare -Ur python3 -c "import socket; s=socket.socket(); s.setsockopt(1, 36, 0x539)"`,
        "enter the init's network": "nsenter -t 1 -n true",
        "see the sidecar": "pgrep -f 'sidecar --option[s]'",
        "unmount what hides the state": `umount '${mesh.stateDir}'`,
      };
      for (const [what, script] of Object.entries(attempts)) {
        const { code, stdout } = await client(`PATH=$PATH:/usr/sbin; ${script}`);
        assert.notEqual(code, 0, `${what} succeeded: ${stdout}`);
      }
      const rules = await client(`curl -s -m 5 http://${server4}:8080/`);
      assert.equal(rules.code, 0);
    });

    test("the application finds no state: no key, no token, no socket", async () => {
      const { stdout } = await client(
        `ls -A '${mesh.stateDir}' 2>/dev/null | wc -l; cat '${mesh.stateDir}/i/server-0.default/token' 2>&1`,
      );
      assert.match(stdout, /^0\n/);
      assert.match(stdout, /No such file|Permission denied/);
    });

    test("the application has no capability and can gain none", async () => {
      const { stdout } = await client(
        "grep -E '^(Cap(Prm|Eff)|NoNewPrivs)' /proc/self/status; id -u",
      );
      assert.match(stdout, /CapPrm:\t0+\nCapEff:\t0+\nNoNewPrivs:\t1\n/);
      assert.doesNotMatch(stdout, /^0$/m);
    });

    test("the gateway's host port leads to the gateway, which is told who connected", async () => {
      const answer = await fetch(`${mesh.gatewayUrls[0]}hello`);
      assert.equal(await answer.text(), "gateway /hello 127.0.0.1");
    });

    test("a workload's killed sidecar is back within a second; no packet left meanwhile", async () => {
      const tookMs: number[] = [];
      // The shortest is what the mesh needs; the rest is how busy the machine was.
      for (let i = 0; i < 3; i++) {
        const waitedMs = watchProcessorWait(() => [process.pid, ...restarting(mesh, "client-0")]);
        const startMs = performance.now();
        process.kill(mesh.workload("client-0").sidecarPid, "SIGKILL");
        await client(`curl -s -m 1 http://${server4}:8080/`);
        await eventually("the sidecar is back", async () => {
          const { code } = await client(`curl -s -m 1 http://${server4}:8080/`);
          return code === 0;
        });
        tookMs.push(performance.now() - startMs - waitedMs());
      }
      assert(Math.min(...tookMs) < 3000, `${tookMs.join(", ")} ms with a processor`);
    });

    test("undeclared UDP passes inside the mesh, and is dropped and counted under REGISTRY_ONLY", async () => {
      await client(sendUdp);
      const before_ = await mesh.workload("client-0").counters();
      assert.equal(before_["undeclared"], 1);
      const policy = "meshConfig: { outboundTrafficPolicy: { mode: REGISTRY_ONLY } }\n";
      mesh.write("heddle.yaml", policy + meshFile);
      await eventually("the rules have changed", async () => {
        await client(sendUdp);
        return ((await mesh.workload("client-0").counters())["dropped"] ?? 0) > 0;
      });
      assert.equal((await client(`curl -s -m 5 http://${server4}:8080/`)).code, 0);
      mesh.write("heddle.yaml", meshFile);
      await eventually("they have changed back", async () => {
        return (await mesh.workload("client-0").counters())["dropped"] === 0;
      });
    });

    test("nothing has gone around a sidecar", async () => {
      for (const name of ["client-0", "server-0"]) {
        const counters = await mesh.workload(name).counters();
        assert.equal(counters["around"], 0, name);
        assert.equal(counters["dropped"], 0, name);
      }
    });
  });
}

test("a test's mesh that ends with packets past a sidecar fails the test, and says where", async () => {
  const [mode] = capturingModes;
  assert(mode !== undefined);
  const files = { "heddle.yaml": meshFile };
  const mesh = await startMesh({ mode, processes: "stand-in", files });
  await mesh.workload("client-0").exec(sendUdp);
  await assert.rejects(mesh.stop(), /undeclared 1 in client-0\.default/);
  await mesh.stop(); // dead: nothing is left to be asked
});

/** Who starts an instance's sidecar again, and the sidecar; between two there is none. */
function restarting(mesh: TestMesh, instance: string): readonly number[] {
  const supervisor = descendantsOf(mesh.supervisorPid)[0] ?? mesh.supervisorPid;
  try {
    return [supervisor, mesh.workload(instance).sidecarPid];
  } catch {
    return [supervisor];
  }
}

async function greetingServer(at = 0): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.write("220 ready\n");
    socket.on("data", (chunk: Buffer) => socket.write(chunk));
    socket.on("end", () => socket.end(" bye\n"));
    socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(at, "0.0.0.0", resolve);
  });
  const address = server.address();
  assert(address !== null && typeof address === "object");
  return { server, port: address.port };
}

function outsideAddress(): string | undefined {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find((one) => one.family === "IPv4" && !one.internal)?.address;
}
