/** The one certificate of a benchmark's proxies and clients, its own authority. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Writes `cert.pem` and `key.pem`. */
export function makeCertificate(folder: string): void {
  const name = "URI:spiffe://cluster.local/ns/default/sa/bench";
  const options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(
    " ",
  );
  const files = ["-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=bench.default", "-addext", `subjectAltName=${name}`];
  const result = spawnSync("openssl", ["req", ...options, ...files, ...subject]);
  if (result.status !== 0) throw new Error(`openssl: ${result.stderr.toString()}`);
}
