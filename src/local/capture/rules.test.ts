import assert from "node:assert/strict";
import { test } from "node:test";

import { defaultSidecarPorts } from "../../base/sidecar-options.ts";
import type { CaptureRules } from "./rules.ts";
import { iptablesEdgeRules, iptablesRules, nftEdgeRules, nftRules } from "./rules.ts";

const rules: CaptureRules = {
  device: "eth0",
  ports: defaultSidecarPorts,
  mark: 0x539,
  control: { ipv4: "198.18.0.1", ipv6: "fd48:6564:646c:12::1", ports: [15012, 15053] },
  udp: "pass",
  hasIpv6: true,
};

/** The lines of a script, in order, that must appear with none of them out of order. */
function checkOrder(script: string, lines: readonly RegExp[]): void {
  let at = 0;
  for (const line of lines) {
    const found = script.slice(at).search(line);
    assert(found >= 0, `${line} does not follow in:\n${script}`);
    at += found + 1;
  }
}

test("nftRules() lets the proxy's mark pass before anything of the application is redirected", () => {
  checkOrder(nftRules(rules), [
    /chain inbound/,
    /meta nfproto ipv4 tcp dport \{ 15020, 15021, 15090 \} return/,
    /redirect to :15006/,
    /chain outbound/,
    /oifname "lo" ip saddr 127\.0\.0\.6 return/,
    /meta mark 0x539 return/,
    /udp dport 53 redirect to :15053/,
    /oifname "lo" return/,
    /meta l4proto tcp redirect to :15001/,
    /chain leaving/,
    /counter name dropped drop/,
    /chain left/,
    /counter name around/,
  ]);
});

test("nftRules() drops undeclared UDP where only the registry may be reached", () => {
  assert.match(nftRules(rules), /meta l4proto udp counter name undeclared accept/);
  assert.match(nftRules({ ...rules, udp: "refuse" }), /meta l4proto udp counter name dropped drop/);
});

test("iptablesRules() says the same for one family", () => {
  checkOrder(iptablesRules(rules, 6), [
    /-m mark --mark 0x539 -j RETURN/,
    /-d fd48:6564:646c:12::1\/128 -p tcp -m multiport --dports 15012,15053 -j RETURN/,
    /--to-ports 15053/,
    /-o lo -j RETURN/,
    /-p tcp -j REDIRECT --to-ports 15001\nCOMMIT/,
    /--icmpv6-type 135 -j ACCEPT/,
    /-A HEDDLE_LEAVING -j DROP\nCOMMIT/,
  ]);
  assert.doesNotMatch(iptablesRules(rules, 4), /fd48/);
});

test("iptablesRules() captures every port on which the sidecar does not listen itself", () => {
  assert.match(iptablesRules(rules, 4), /HEDDLE_INBOUND .*--dports 15020,15021,15090 -j RETURN/);
  assert.doesNotMatch(iptablesRules(rules, 6), /HEDDLE_INBOUND .*RETURN/);
});

test("the edge forwards between workloads alone, whatever the firewall", () => {
  const edge = {
    bridge: "heddle0",
    uplinkPort: 15_099,
    mesh: { ipv4: "198.18.0.0/16", ipv6: "fd48:6564:646c:12::/64" },
    services: { ipv4: "198.19.0.0/16", ipv6: "fd48:6564:646c:13::/64" },
  };
  const nft = nftEdgeRules(edge);
  const forward = nft.slice(nft.indexOf("chain forward"));
  assert.deepEqual(
    forward.match(/.*(?:accept|reject).*/g)?.map((line) => line.trim()),
    [
      "type filter hook forward priority filter; policy accept;",
      'iifname "heddle0" oifname "heddle0" ip daddr 198.18.0.0/16 accept',
      'iifname "heddle0" oifname "heddle0" ip6 daddr fd48:6564:646c:12::/64 accept',
      "meta l4proto tcp reject with tcp reset",
      "reject",
    ],
  );
  assert.deepEqual(iptablesEdgeRules(edge, 4).match(/^-A FORWARD.*$/gm), [
    "-A FORWARD -i heddle0 -o heddle0 -d 198.18.0.0/16 -j ACCEPT",
    "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
    "-A FORWARD -j REJECT",
  ]);
});
