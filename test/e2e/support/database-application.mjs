// A workload that is a real server of Debian's: PostgreSQL or Redis, as its packages install it, with its
// files in FOLDER/INSTANCE. Then runs what follows in this process. Usage:
//   database-application.mjs postgres|redis node exec-server.mjs FOLDER
import { execFileSync, spawn } from "node:child_process";
import { globSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [kind = "", node = process.execPath, next = "", folder = "."] = process.argv.slice(2);
const home = join(folder, `${process.env.HOSTNAME}-${kind}`);
mkdirSync(home, { recursive: true, mode: 0o700 });

/** The newest that is installed: `/usr/lib/postgresql/15/bin`. */
function postgresFolder() {
  return globSync("/usr/lib/postgresql/*/bin").toSorted().at(-1) ?? "";
}

/** Says its own certificate over TLS, which clients may ask for or not; a test changes that while it runs. */
function postgres() {
  const bin = postgresFolder();
  const cluster = join(home, "data");
  const stdio = ["ignore", "ignore", "inherit"];
  execFileSync(
    join(bin, "initdb"),
    ["-D", cluster, "-U", "mesh", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"],
    { stdio },
  );
  const subject = ["-subj", "/CN=db", "-days", "2", "-nodes", "-newkey", "ec"];
  const curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"];
  const files = ["-keyout", join(cluster, "server.key"), "-out", join(cluster, "server.crt")];
  execFileSync("openssl", ["req", "-x509", ...subject, ...curve, ...files], { stdio: "ignore" });
  const settings = [
    "listen_addresses = '127.0.0.1'",
    "fsync = off",
    "ssl = on",
    `unix_socket_directories = '${home}'`,
    "shared_buffers = 16MB",
    "max_connections = 20",
  ];
  writeFileSync(join(cluster, "postgresql.conf"), settings.join("\n"));
  return spawn(join(bin, "postgres"), ["-D", cluster, "-p", "5432"], { stdio: "inherit" });
}

function redis() {
  const words = ["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", home];
  return spawn("redis-server", words, { stdio: "inherit" });
}

const server = { postgres, redis }[kind]();
server.on("exit", (code, signal) => {
  console.error(`${kind} ended with ${code ?? signal}`);
  process.exit(1);
});

process.argv = [node, next, folder];
await import(next);
