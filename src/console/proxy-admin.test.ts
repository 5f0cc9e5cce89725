import assert from "node:assert/strict";
import { test } from "node:test";

import { fakeControlPlane } from "../../test/browser/support/fake-control-plane.ts";
import { shopSnapshot } from "../../test/browser/support/seed.ts";
import { HeddleError } from "../base/error.ts";
import { askProxyAdmin } from "./proxy-admin.ts";

const controlPlane = fakeControlPlane({
  workloads: shopSnapshot(),
  problems: [],
  resources: [],
  proxies: [],
});

/** The address that the proxy is asked for; undefined when it is not asked at all. */
async function asked(query: string, view = "stats"): Promise<string | undefined> {
  let url: string | undefined;
  const request = { proxy: "cart-0.default", view, query, isChange: false };
  try {
    await askProxyAdmin(
      controlPlane,
      (one) => {
        url = one.url;
        return Promise.resolve({ status: 200, contentType: "text/plain", text: "" });
      },
      request,
    );
  } catch (error) {
    assert.equal(url, undefined, "refused after it was asked");
    assert.match(String(error), /unexpected characters|no view/);
  }
  return url;
}

// What may pass is a list of its own here: a wider pattern in the code must be meant.
test("askProxyAdmin() passes on queries of known characters alone", async () => {
  const letters = "abcdefghijklmnopqrstuvwxyz";
  const known = new Set(`${letters}${letters.toUpperCase()}0123456789_.=&%+*|^$()-`);
  for (let code = 0; code < 0x180; code++) {
    const character = String.fromCharCode(code);
    const url = await asked(`a${character}b`);
    const expected = known.has(character) ? `http://localhost/stats?a${character}b` : undefined;
    assert.equal(url, expected, `U+${code.toString(16)}`);
  }
  for (const query of [
    "filter=a\r\nX: y",
    "filter=a\n",
    "\nfilter",
    "a b",
    "a#b",
    "../quit",
    "é",
  ]) {
    assert.equal(await asked(query), undefined, JSON.stringify(query));
  }
});

test("askProxyAdmin() bounds the length of a query", async () => {
  assert.notEqual(await asked("x".repeat(512)), undefined);
  assert.equal(await asked("x".repeat(513)), undefined);
});

test("askProxyAdmin() asks for its own views alone", async () => {
  for (const view of ["quitquitquit", "stats/../quitquitquit", "", "Stats", "constructor"]) {
    assert.equal(await asked("", view), undefined, view);
  }
});

test("askProxyAdmin() says why a proxy did not answer", async () => {
  const why = "asking /m/admin.sock: connect ENOENT /m/admin.sock";
  await assert.rejects(
    askProxyAdmin(controlPlane, () => Promise.reject(new HeddleError("net.http-failed", why)), {
      proxy: "cart-0.default",
      view: "stats",
      query: "",
      isChange: false,
    }),
    {
      code: "console.proxy-unreachable",
      message: `the state of cart-0.default cannot be read: its sidecar does not answer (${why})`,
    },
  );
});
