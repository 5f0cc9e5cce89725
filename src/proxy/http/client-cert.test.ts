import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { makeTestAuthority } from "../../../test/support/test-certificates.ts";
import type { TlsSession } from "../../net/channel.ts";
import {
  HttpConnectionManager,
  HttpConnectionManager_ForwardClientCertDetails as Mode,
} from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { applyClientCert } from "./client-cert.ts";
import { MessageHeaders } from "./message-headers.ts";
import { compileSettings } from "./settings.ts";

const peer = "spiffe://cluster.local/ns/shop/sa/cart";
const own = "spiffe://cluster.local/ns/shop/sa/catalog";

async function mutualSession(): Promise<TlsSession & { readonly hash: string }> {
  const authority = await makeTestAuthority();
  const { chainPem } = await authority.issue({
    uris: [peer],
    dnsNames: ["cart.shop.svc", "cart.test"],
    subject: [{ O: ["Shop, Inc."] }, { CN: [{ utf8String: 'cart-0."shop"' }] }],
  });
  const certificate = new X509Certificate(chainPem);
  return {
    version: "TLSv1.3",
    cipher: "",
    sni: undefined,
    alpn: undefined,
    peerUriSans: [peer],
    peerCommonName: 'cart-0."shop"',
    peerCertificateDer: certificate.raw,
    localUriSans: [own],
    hash: createHash("sha256").update(certificate.raw).digest("hex"),
  };
}

function headerAfter(
  mode: Mode,
  session: TlsSession | undefined,
  earlier: string | undefined,
  details: { readonly cert?: boolean } = {},
): string | undefined {
  const settings = compileSettings(
    HttpConnectionManager.fromPartial({
      forwardClientCertDetails: mode,
      setCurrentClientCertDetails: { subject: true, dns: true, uri: true, ...details },
    }),
  );
  const headers = new MessageHeaders();
  if (earlier !== undefined) headers.add("x-forwarded-client-cert", earlier);
  applyClientCert(headers, new ScriptedChannel(session), settings);
  return headers.get("x-forwarded-client-cert");
}

test("applyClientCert() says who called as each mode wants it", async () => {
  const session = await mutualSession();
  const element = `By=${own};Hash=${session.hash};Subject="CN=cart-0.\\"shop\\",O=Shop\\, Inc.";URI=${peer};DNS=cart.shop.svc;DNS=cart.test`;
  const earlier = "URI=spiffe://earlier";
  assert.equal(headerAfter(Mode.SANITIZE, session, earlier), undefined);
  assert.equal(headerAfter(Mode.FORWARD_ONLY, session, earlier), earlier);
  assert.equal(headerAfter(Mode.APPEND_FORWARD, session, earlier), `${earlier},${element}`);
  assert.equal(headerAfter(Mode.APPEND_FORWARD, session, undefined), element);
  assert.equal(headerAfter(Mode.SANITIZE_SET, session, earlier), element);
  assert.equal(headerAfter(Mode.ALWAYS_FORWARD_ONLY, session, earlier), earlier);
});

test("applyClientCert() believes no header of a client without certificate", () => {
  for (const mode of [Mode.SANITIZE, Mode.FORWARD_ONLY, Mode.APPEND_FORWARD, Mode.SANITIZE_SET]) {
    assert.equal(headerAfter(mode, undefined, "forged"), undefined);
  }
  assert.equal(headerAfter(Mode.ALWAYS_FORWARD_ONLY, undefined, "kept"), "kept");
});

test("proxy() takes a forged client certificate away", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: URI=spiffe://forged\r\n\r\n");
  assert.doesNotMatch(mesh.upstream().take(), /forged/);
});

test("applyClientCert() hands the certificate on as Envoy writes it", async () => {
  const session = await mutualSession();
  const text = headerAfter(Mode.SANITIZE_SET, session, undefined, { cert: true }) ?? "";
  const [, cert = ""] = /;Hash=[0-9a-f]{64};Cert="([^"]+)";Subject=/.exec(text) ?? [];
  assert.match(
    cert,
    /^-----BEGIN%20CERTIFICATE-----%0A[0-9A-Za-z%]+%0A-----END%20CERTIFICATE-----%0A$/,
  );
  const parsed = new X509Certificate(decodeURIComponent(cert));
  assert.deepEqual(parsed.raw, session.peerCertificateDer);
});
