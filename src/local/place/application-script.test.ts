import assert from "node:assert/strict";
import { test } from "node:test";

import { confinedSpec, quote } from "./application-script.ts";
import { hasListener } from "./namespaces.ts";

const confinement = {
  networkNamespace: "/state/netns/3",
  resolvConf: "/state/netns/3.resolv.conf",
  hidden: ["/state", "/home/o'neil"],
  readOnly: ["/opt/heddle/src"],
  writable: [],
  workshop: "/state/netns/3.workshop",
  detours: [],
  user: undefined,
};
const spec = { command: ["node", "a b.mjs"], directory: "/x", environment: { A: "1" } };

test("confinedSpec() hides the state only after the name server's file has left it", () => {
  const { command } = confinedSpec(spec, confinement);
  const script = command.at(-4) ?? "";
  assert(
    script.indexOf("mount --bind '/state/netns/3.resolv.conf'") < script.indexOf("heddle '/state'"),
  );
  assert.match(script, /heddle '\/home\/o'\\''neil'/);
  assert.deepEqual(command.slice(-3), ["heddle-application", "node", "a b.mjs"]);
});

test("confinedSpec() lets nobody write what the sidecar is started from", () => {
  const script = confinedSpec(spec, confinement).command.at(-4) ?? "";
  assert.match(script, /readlink -e '\/opt\/heddle\/src'\); then mount --bind .*remount,bind/);
});

test("confinedSpec() puts what is needed in the place of a closed folder, before it is protected", () => {
  const detours = [{ closed: "/root", needed: ["/root/a b"] }];
  const script = confinedSpec(spec, { ...confinement, detours }).command.at(-4) ?? "";
  const steps = [
    "mount --bind '/state/netns/3.resolv.conf'",
    "mount --rbind '/root/a b' '/state/netns/3.workshop/open-0/a b'",
    "mount --rbind '/state/netns/3.workshop/open-0' '/root'",
    "remount,bind",
  ].map((step) => script.indexOf(step));
  assert.deepEqual(
    steps,
    steps.toSorted((a, b) => a - b),
  );
  assert(!steps.includes(-1));
});

test("confinedSpec() enters the folder anew, above its protection", () => {
  const script = confinedSpec(spec, confinement).command.at(-4) ?? "";
  assert(script.indexOf("remount,bind") < script.indexOf("cd '/x'"));
});

test("confinedSpec() puts writable folders above what protects the ones around them", () => {
  const writable = ["/opt/heddle/src/.cache"];
  const script = confinedSpec(spec, { ...confinement, writable }).command.at(-4) ?? "";
  const steps = [
    "mount --bind '/opt/heddle/src/.cache' '/state/netns/3.workshop/0'",
    "remount,bind",
    "mount --bind '/state/netns/3.workshop/0' '/opt/heddle/src/.cache'",
    "heddle '/state'",
  ].map((step) => script.indexOf(step));
  assert.deepEqual(
    steps,
    steps.toSorted((a, b) => a - b),
  );
  assert(!steps.includes(-1));
});

test("confinedSpec() drops to a user namespace, or under root to a user without capabilities", () => {
  const rootless = confinedSpec(spec, confinement).command.join(" ");
  assert.match(rootless, /exec unshare --user --map-user=1000 .*-- setpriv --no-new-privs -- sh/);
  const root = confinedSpec(spec, { ...confinement, user: { uid: 65_534, gid: 65_533 } });
  assert.match(
    root.command.join(" "),
    /exec setpriv --reuid=65534 --regid=65533 --clear-groups --no-new-privs .*--bounding-set=-all -- sh/,
  );
});

test("quote() survives quotes", () => {
  assert.equal(quote("a'b"), "'a'\\''b'");
});

test("hasListener() reads the kernel's table of sockets", () => {
  const table = [
    "  sl  local_address rem_address   st tx_queue rx_queue",
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000",
    "   1: 0100007F:1F91 0100007F:C350 01 00000000:00000000",
  ].join("\n");
  assert(hasListener(table, 8080));
  assert(!hasListener(table, 8081));
});
