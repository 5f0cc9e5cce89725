import assert from "node:assert/strict";
import { test } from "node:test";

import {
  makeTestAuthority,
  type TestCertificate,
} from "../../../test/support/test-certificates.ts";
import { compileChoice } from "./own-certificates.ts";

const authority = await makeTestAuthority();
const issue = (key: "ec" | "rsa", ...dnsNames: string[]): Promise<TestCertificate> =>
  authority.issue({ dnsNames, key });
const all = {
  ecShop: await issue("ec", "shop.test"),
  rsaShop: await issue("rsa", "Shop.test", "www.shop.test"),
  ecCart: await issue("ec", "cart.test"),
  ecWild: await issue("ec", "*.wild.test"),
  rsaWild: await issue("rsa", "*.wild.test"),
  ecOne: await issue("ec", "one.wild.test"),
  secondShop: await issue("ec", "shop.test"),
  named: await authority.issue({ commonName: "named.test" }),
  other: await authority.issue({ commonName: "hidden.test", uris: ["spiffe://test/one"] }),
} as const;
type Name = keyof typeof all;

function check(
  certificates: readonly Name[],
  scansAll: boolean,
  expected: { readonly unnamed: readonly Name[] } & { readonly [name: string]: readonly Name[] },
): void {
  const nameOf = new Map(Object.entries(all).map(([name, certificate]) => [certificate, name]));
  const choice = compileChoice(
    certificates.map((name) => all[name]),
    scansAll,
  );
  for (const [name, set] of Object.entries(expected)) {
    const found = name === "unnamed" ? choice.unnamed : choice.named(name);
    assert.deepEqual(
      found.map((one) => nameOf.get(all[nameOf.get(one as TestCertificate) as Name])),
      set,
      name,
    );
    assert.ok(choice.sets.includes(found), name);
  }
}

test("compileChoice() takes the name, one certificate for each kind of key, the first of a kind", () => {
  check(["ecShop", "rsaShop", "secondShop", "ecCart"], false, {
    unnamed: ["ecShop", "rsaShop"],
    "shop.test": ["ecShop", "rsaShop"],
    "www.shop.test": ["rsaShop"],
    "cart.test": ["ecCart"],
    "nobody.test": ["ecShop"],
  });
});

test("compileChoice() looks above a name, and never above that", () => {
  check(["ecCart", "ecWild", "rsaWild"], false, {
    unnamed: ["ecCart", "rsaWild"],
    "a.wild.test": ["ecWild", "rsaWild"],
    "a.b.wild.test": ["ecCart"],
    "wild.test": ["ecCart"],
  });
});

test("compileChoice() has a key of RSA for those who can do nothing else", () => {
  check(["rsaShop", "ecCart", "ecOne", "ecWild", "rsaWild"], false, {
    unnamed: ["rsaShop", "ecCart"],
    "cart.test": ["ecCart", "rsaShop"],
    "one.wild.test": ["ecOne", "rsaWild"],
  });
  check(["ecCart", "rsaShop"], false, { unnamed: ["ecCart", "rsaShop"], "cart.test": ["ecCart"] });
});

test("compileChoice() scans all where it is told to", () => {
  check(["ecCart", "rsaShop"], true, {
    unnamed: ["ecCart", "rsaShop"],
    "nobody.test": ["ecCart", "rsaShop"],
    "cart.test": ["ecCart", "rsaShop"],
  });
});

test("compileChoice() goes by the common name of a certificate that has no other", () => {
  check(["ecShop", "named", "other"], false, {
    unnamed: ["ecShop"],
    "named.test": ["named"],
    "hidden.test": ["ecShop"],
  });
});
