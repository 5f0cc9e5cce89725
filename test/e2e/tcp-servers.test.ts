/**
 * Real servers of protocols that are not HTTP, through the two sidecars of a STRICT mesh: PostgreSQL and
 * Redis with their own clients, and servers that speak first. Their workloads know nothing of the mesh.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";

import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import { scrape, total, untilTotal } from "./support/proxy-metrics.ts";
import { capturedCases } from "./support/security-mesh.ts";

const application = (file: string, spec: string): string =>
  `["${process.execPath}", "${join(import.meta.dirname, "support", file)}", "${spec}", {exec}]`;

const meshFile = `
mesh: servers
console: { port: 0 }
workloads:
- name: client
  command: [{exec}]
- name: db
  command: ${application("database-application.mjs", "postgres")}
  ports: [{ name: tcp-db, port: 5432 }]
- name: cache
  command: ${application("database-application.mjs", "redis")}
  ports: [{ name: undeclared, port: 6379 }]
- name: greeter
  command: ${application("greeting-application.mjs", "mysql:3306:0 smtp:2525:1000 late:9092:12000 tally:7000:0 smtp:2526:0")}
  ports:
  - { name: mysql, port: 3306 }
  - { name: tcp-smtp, port: 25, targetPort: 2525 }
  - { name: tcp-late, port: 9092 }
  - { name: tcp-tally, port: 7000 }
  - { name: undeclared, port: 2526 }
- name: broker
  command: ${application("greeting-application.mjs", "kafka:9092:0 smtp:2525:1000 late:9093:12000")}
  ports:
  - { name: tcp-kafka, port: 9092 }
  - { name: undeclared, port: 2525 }
  - { name: unsaid, port: 9093 }
`;

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

type Run = (script: string) => Promise<string>;

/** What a script prints, as the client; fails where the script does. */
function runIn(mesh: TestMesh, instance = "client-0"): Run {
  return async (script) => {
    const { code, stdout, stderr } = await mesh.workload(instance).exec(script);
    assert.equal(code, 0, `${script}\n${stdout}\n${stderr}`);
    return stdout.trimEnd();
  };
}

const psql = (options: string, words: string): string =>
  `PGCONNECT_TIMEOUT=10 psql "host=db user=mesh dbname=postgres ${options}" -XqAt -v ON_ERROR_STOP=1 ${words}`;

for (const { mode, dataPlane, title } of capturedCases) {
  describe(`servers of other protocols: ${title}`, () => {
    test("PostgreSQL, Redis and servers that speak first", async (t) => {
      await using mesh = await startMesh({
        mode,
        dataPlane,
        processes: "heddle",
        files: { "heddle.yaml": meshFile, "strict.yaml": strict },
      });
      const run = runIn(mesh);
      // Twelve seconds, in which the rest is done.
      const late = run(talk("greeter", 9092));
      late.catch(() => {});
      await eventually(
        "PostgreSQL is there",
        async () =>
          (await mesh.workload("client-0").exec(psql("sslmode=disable", "-c 'select 1'"))).code ===
          0,
        30_000,
      );
      await t.test("PostgreSQL", async () => postgresTests(run));
      await t.test("PostgreSQL's own TLS, offered or refused", async () => {
        await postgresTlsTests(run, runIn(mesh, "db-0"));
      });
      await t.test("Redis", async () => redisTests(run));
      await t.test("servers that speak first", async () => {
        assert.match(await run(talk("greeter", 3306, "login")), /8\.0\.36/);
        assert.match(await run(talk("greeter", 25, "QUIT\\r\\n")), /^220 mail.*\r\n221 bye$/s);
        assert.equal(await late, "at last");
      });
      await t.test("Kafka", async () => {
        const client = join(import.meta.dirname, "support", "kafka-client.mjs");
        const told = await run(`${process.execPath} ${client} broker 9092 500`);
        assert.equal(told, "0,1,3,18 0 broker:9092 500 1181250 true");
      });
      // Envoy would wait for the client's first bytes for ever.
      if (dataPlane === "heddle") {
        await t.test("heddle hears a server that speaks first on an undeclared port", async () => {
          const quit = /^220 mail.*\r\n221 bye$/s;
          for (let i = 0; i < 3; i++) {
            assert.match(await run(talk("greeter", 2526, "QUIT\\r\\n")), quit);
          }
          const samples = await scrape(mesh, { name: "client-0" });
          const decided = (by: string): number =>
            total(samples, "heddle_detection_total", { decided_by: by, protocol: "tcp" });
          assert.deepEqual([decided("bound"), decided("memory")], [1, 2]);
        });
        await t.test("heddle hears servers that take their time on undeclared ports", async () => {
          const [soon, late] = await Promise.all([
            run(talk("broker", 2525, "QUIT\\r\\n")),
            run(talk("broker", 9093)),
          ]);
          assert.match(soon, /^220 mail.*\r\n221 bye$/s);
          assert.equal(late, "at last");
        });
      }
      await t.test("bytes are counted as both ends count them", async () => {
        await countTests(mesh, run, dataPlane === "heddle" ? 4 : 1);
      });
    });
  });
}

/** Reads until the server ends; says something after its first words. */
function talk(host: string, port: number, text?: string): string {
  const program = [
    `const socket = require("net").connect(${port}, "${host}");`,
    "let got = '';",
    "socket.on('data', (chunk) => (got += chunk.toString('latin1')));",
    text === undefined ? "" : `socket.once('data', () => socket.write("${text}"));`,
    "socket.on('error', (error) => { console.log(error.code); });",
    "socket.on('close', () => console.log(got.trimEnd()));",
  ];
  return `${process.execPath} <<'END'\n${program.join("\n")}\nEND`;
}

async function postgresTests(run: Run): Promise<void> {
  const plain = "sslmode=disable";
  await run(psql(plain, `-c 'create table tags (id int, word text)'`));
  // COPY in, by 20,000 lines.
  const copied = `seq 1 20000 | sed 's/$/\\tword/' | ${psql(plain, `-c '\\copy tags from stdin'`)}`;
  await run(copied);
  assert.equal(
    await run(psql(plain, `-c 'select count(*), sum(id) from tags'`)),
    "20000|200010000",
  );
  const lines = await run(`${psql(plain, `-c '\\copy tags to stdout'`)} | md5sum`);
  assert.equal(lines, await run(`seq 1 20000 | sed 's/$/\\tword/' | md5sum`));
  const prepared = `-c 'prepare one(int) as select word from tags where id = $1' -c 'execute one(7)'`;
  assert.equal(await run(psql(plain, prepared)), "word");
  // Statements prepared in the protocol itself, by four clients at once.
  const bench =
    "$(ls -d /usr/lib/postgresql/*/bin | sort | tail -1)/pgbench -h db -U mesh postgres";
  await run(`${bench} -i -q 2>&1`);
  const done = await run(`${bench} -n -M prepared -c 4 -t 50 2>&1`);
  assert.match(done, /number of transactions actually processed: 200\/200/);
  // A cancel request is a connection of its own.
  const sleep = `timeout -s INT 2 ${psql(plain, `-c 'select pg_sleep(60)'`).replace(/^\S+ /, "")} 2>&1; true`;
  assert.match(await run(sleep), /canceling statement due to user request/);
  const still = `-c "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()"`;
  assert.equal(await run(psql(plain, still)), "0");
}

async function postgresTlsTests(run: Run, atServer: Run): Promise<void> {
  const which = `-c 'select version, cipher from pg_stat_ssl where pid = pg_backend_pid()'`;
  assert.match(await run(psql("sslmode=require", which)), /^TLSv1\.3\|/);
  await atServer(
    `psql -h 127.0.0.1 -U mesh postgres -Xq -c "alter system set ssl = off" -c "select pg_reload_conf()"`,
  );
  await eventually(
    "TLS is refused",
    async () => (await run(`${psql("sslmode=prefer", which)}`)) === "|",
  );
  assert.match(await run(`${psql("sslmode=require", which)} 2>&1; true`), /does not support SSL/);
}

async function redisTests(run: Run): Promise<void> {
  const cli = "redis-cli -h cache";
  await eventually("Redis is there", async () => (await run(`${cli} ping 2>&1; true`)) === "PONG");
  // 10,000 commands on one connection, without waiting for their answers.
  const piped = await run(
    `i=0; while [ $i -lt 10000 ]; do echo "INCR counter"; i=$((i+1)); done | ${cli} --pipe`,
  );
  assert.match(piped, /errors: 0, replies: 10000/);
  assert.equal(await run(`${cli} get counter`), "10000");
  // A subscriber that waits, and one who publishes when it is there.
  const heard = await run(
    [
      `out=$(mktemp); timeout 20 ${cli} subscribe news >$out & pid=$!`,
      `while [ "$(${cli} publish news hello)" != 1 ]; do sleep 0.05; done`,
      `while ! grep -q hello $out; do sleep 0.05; done`,
      "kill $pid; cat $out; rm $out",
    ].join("\n"),
  );
  assert.match(heard, /subscribe\nnews\n1\nmessage\nnews\nhello/);
}

async function countTests(mesh: TestMesh, run: Run, quits: number): Promise<void> {
  const program = [
    `const socket = require("net").connect({ port: 7000, host: "greeter", allowHalfOpen: true });`,
    "let [came, tail] = [0, ''];",
    "socket.on('data', (chunk) => { came += chunk.length; tail = (tail + chunk.toString('latin1')).slice(-40); });",
    "let sent = 0; const block = Buffer.alloc(10_000, 'x');",
    "const more = () => { while (sent < 1_000_000) { sent += block.length; if (!socket.write(block)) return socket.once('drain', more); } socket.end(); };",
    "more();",
    "socket.on('end', () => console.log(sent, came, tail.split('\\n').at(-1)));",
  ];
  const [sent, came, ...told] = (
    await run(`${process.execPath} <<'END'\n${program.join("\n")}\nEND`)
  )
    .split(" ")
    .map(Number);
  assert.deepEqual([sent, ...told], [1_000_000, 1_000_000, 2_000_000]);
  const labels = {
    source_workload: "client",
    destination_workload: "greeter",
    destination_service: "greeter.default.svc.cluster.local",
  };
  const from = { name: "client-0" };
  const to = { name: "greeter-0" };
  for (const instance of [from, to]) {
    const reporter = instance === from ? "source" : "destination";
    const wanted = { ...labels, reporter };
    const name = "istio_tcp_connections_closed_total";
    await untilTotal(mesh, instance, { name, labels: wanted, value: 3 + quits });
    const samples = await scrape(mesh, instance);
    // The greeters' bytes are among them: what they and their client said is known.
    const greetings = {
      client: "login".length + quits * "QUIT\r\n".length,
      server: mysqlBytes + quits * smtpBytes + "at last\n".length,
    };
    assert.equal(
      total(samples, "istio_tcp_received_bytes_total", wanted),
      (sent ?? 0) + greetings.client,
      `received, ${reporter}`,
    );
    assert.equal(
      total(samples, "istio_tcp_sent_bytes_total", wanted),
      (came ?? 0) + greetings.server,
      `sent, ${reporter}`,
    );
  }
}

const mysqlBytes = 4 + "\n8.0.36\0scripted".length + 4 + 7;
const smtpBytes = "220 mail.example ESMTP\r\n221 bye\r\n".length;
