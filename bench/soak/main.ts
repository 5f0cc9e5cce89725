/**
 * The soak: sidecars at a share of what they can do, while the configuration changes each second,
 * endpoints come and go, and certificates are replaced each minute.
 *
 *   npm run soak                                an hour at 70 % of capacity; writes docs/soak.md
 *   npm run soak -- --minutes 10 --rate 200 --io portable --no-write
 *   npm run soak -- --cpus 0.1                  sidecars with a tenth of a core, as a container's limit
 *   npm run soak -- --push-ms 200 --churn-ms 3000 --certificate-ttl 20s --minutes 15 --no-write
 *                                               what an hour brings, in a quarter of it
 *
 * Ends with 1 when a request has failed, or when memory grows by 1 MB an hour or more after the warm-up.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { describeSoak } from "./report.ts";
import { runSoak, usualPace } from "./run.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    rate: { type: "string" },
    io: { type: "string", default: "epoll" },
    cpus: { type: "string" },
    "push-ms": { type: "string", default: String(usualPace.pushEveryMs) },
    "churn-ms": { type: "string", default: String(usualPace.churnEveryMs) },
    "certificate-ttl": { type: "string", default: usualPace.certificateTtl },
    "no-write": { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
const rate = values.rate === undefined ? undefined : Number(values.rate);
const cpus = values.cpus === undefined ? undefined : Number(values.cpus);
const { io } = values;
const isBounded = Number.isInteger(minutes) && minutes >= 1 && minutes <= 1440;
if (!isBounded || !((rate ?? 1) >= 1 && (rate ?? 1) <= 20_000)) {
  console.error("soak: --minutes is 1 to 1440, --rate 1 to 20000");
  process.exit(2);
}
if (cpus !== undefined && !(cpus >= 0.01 && cpus <= 64)) {
  console.error("soak: --cpus is 0.01 to 64");
  process.exit(2);
}
const pushEveryMs = Number(values["push-ms"]);
const churnEveryMs = Number(values["churn-ms"]);
if (!(pushEveryMs >= 50 && churnEveryMs >= 1000)) {
  console.error("soak: --push-ms is at least 50, --churn-ms 1000");
  process.exit(2);
}
if (io !== "portable" && io !== "epoll") {
  console.error("soak: --io is portable or epoll");
  process.exit(2);
}
const pace = { pushEveryMs, churnEveryMs, certificateTtl: values["certificate-ttl"] };
const result = await runSoak({ minutes, rate, io, cpus, ...pace }, (line) => console.error(line));
const { text, isSound } = describeSoak(result);
console.log(text);
if (!values["no-write"]) {
  writeFileSync(new URL("../../docs/soak.md", import.meta.url), text);
}
process.exit(isSound ? 0 : 1);
