import assert from "node:assert/strict";
import { mkdir, mkdtemp, rename, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { resourceKey } from "../model/config-resource.ts";
import { parseDocuments } from "../model/documents.ts";
import type { ConfigDirectory, DirectoryContent } from "./config-directory.ts";
import { watchConfigDirectory } from "./config-directory.ts";
import { LastGood } from "./source/last-good.ts";

function policy(name: string, action = "ALLOW"): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name} }
spec: { action: ${action}, rules: [{}] }
`;
}

function route(name: string, host = "h"): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec: { hosts: [${host.toLowerCase()}], http: [{ route: [{ destination: { host: h } }] }] }
`;
}

interface Look {
  readonly acting: string[];
  readonly broken: string[];
  readonly codes: string[];
  readonly places: string[];
}

interface Folder {
  readonly path: string;
  /** Ends the watch, and begins another as a new process would. */
  readonly stop: () => void;
  readonly start: () => Promise<void>;
  readonly write: (name: string, text: string) => Promise<void>;
  /** Where each resource that acts is written. */
  readonly acting: () => string[];
  /** What the folder says now: names that act, that are broken, and codes of problems. */
  readonly look: () => Promise<Look>;
}

async function withFolder(run: (folder: Folder) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "heddle-source-"));
  let content: DirectoryContent = { resources: [], broken: [], problems: [] };
  const open = (): ConfigDirectory =>
    watchConfigDirectory({
      directory: path,
      lastGoodFile: join(path, ".state", "last-good.json"),
      onChange: (next) => (content = next),
      clock: new FakeClock(),
      log: silentLog,
    });
  let watched = open();
  try {
    await watched.ready;
    await run({
      path,
      stop: () => watched.close(),
      start: async () => {
        watched = open();
        await watched.ready;
      },
      write: async (name, text) => {
        await writeFile(join(path, `.${name}.new`), text);
        await rename(join(path, `.${name}.new`), join(path, name));
      },
      acting: () => content.resources.map(({ source }) => `${source.file}:${source.line}`),
      look: async () => {
        await watched.rescan();
        return {
          acting: content.resources.map(resourceKey),
          broken: content.broken.map(({ kind, name }) => `${kind} ${name}`),
          codes: content.problems.map(({ code }) => code),
          places: content.problems.map(
            ({ source }) => `${source?.file}:${source?.line}:${source?.column}`,
          ),
        };
      },
    });
  } finally {
    watched.close();
    await rm(path, { recursive: true });
  }
}

test("watchConfigDirectory() follows files that come, change and go", async () => {
  await withFolder(async ({ path, write, look }) => {
    await mkdir(join(path, "deep"));
    await writeFile(join(path, "deep", "a.yml"), policy("a"));
    await write("b.yaml", policy("b"));
    const both = ["AuthorizationPolicy default/b", "AuthorizationPolicy default/a"];
    assert.deepEqual(await look(), { acting: both, broken: [], codes: [], places: [] });
    await rm(join(path, "b.yaml"));
    assert.deepEqual((await look()).acting, ["AuthorizationPolicy default/a"]);
  });
});

test("watchConfigDirectory() leaves alone what describes workloads or is not configuration", async () => {
  await withFolder(async ({ path, write, look }) => {
    await write("heddle.yaml", "mesh: shop\n");
    await write("docker-compose.yml", "services: {}\n");
    await write("package.json", '{"name": "shop"}');
    await writeFile(join(path, ".hidden.yaml"), "x: 1\n");
    assert.deepEqual(await look(), { acting: [], broken: [], codes: [], places: [] });
  });
});

test("watchConfigDirectory() keeps the last good version while a document is broken", async () => {
  await withFolder(async ({ write, look }) => {
    await write("p.yaml", policy("p"));
    assert.deepEqual((await look()).broken, []);
    await write("p.yaml", policy("p", "AUDIT"));
    const refused = await look();
    assert.deepEqual(refused.acting, ["AuthorizationPolicy default/p"]);
    assert.deepEqual(refused.broken, []);
    assert.deepEqual(refused.codes, ["config.not-honoured", "config.last-good-serves"]);
    await write("p.yaml", "kind: AuthorizationPolicy\n  metadata: [");
    assert.deepEqual((await look()).acting, ["AuthorizationPolicy default/p"]);
    await write("p.yaml", "# nothing\n");
    assert.deepEqual(await look(), { acting: [], broken: [], codes: [], places: [] });
  });
});

test("watchConfigDirectory() knows the last good version after a restart, at its place", async () => {
  await withFolder(async ({ path, stop, start, write, look }) => {
    await write("p.yaml", `${policy("first")}---\n${policy("p")}`);
    await write("q.yaml", policy("q"));
    await look();
    stop();
    await write("p.yaml", `${policy("first")}---\n${policy("p", "AUDIT")}`);
    await rm(join(path, "q.yaml"));
    await start();
    const after = await look();
    const key = (name: string): string => `AuthorizationPolicy default/${name}`;
    assert.deepEqual(after.acting, [key("first"), key("p")]);
    assert.deepEqual(after.broken, []);
    assert.deepEqual(after.codes, ["config.not-honoured", "config.last-good-serves"]);
    assert.equal(after.places.at(-1), "p.yaml:6:1");
    assert.equal((await stat(join(path, ".state", "last-good.json"))).mode & 0o777, 0o600);
  });
});

test("watchConfigDirectory() denies where what was kept for a restart cannot be read", async () => {
  await withFolder(async ({ path, stop, start, write, look }) => {
    await write("p.yaml", policy("p"));
    await look();
    stop();
    await writeFile(join(path, ".state", "last-good.json"), "{");
    await write("p.yaml", policy("p", "AUDIT"));
    await start();
    assert.deepEqual((await look()).broken, ["AuthorizationPolicy p"]);
  });
});

test("watchConfigDirectory() reports a policy that never was good, so that it denies", async () => {
  await withFolder(async ({ write, look }) => {
    await write("p.yaml", policy("p", "AUDIT"));
    assert.deepEqual((await look()).broken, ["AuthorizationPolicy p"]);
    await write("p.yaml", "kind: AuthorizationPolicy\n  metadata: [");
    assert.deepEqual((await look()).broken, ["AuthorizationPolicy undefined"]);
  });
});

test("watchConfigDirectory() denies where two policies of one name disagree from the start", async () => {
  await withFolder(async ({ write, stop, start, look }) => {
    await write("a.yaml", policy("p"));
    await write("b.yaml", policy("p", "DENY"));
    const contested = ["AuthorizationPolicy p", "AuthorizationPolicy p"];
    const codes = ["config.duplicate-name", "config.duplicate-name"];
    const places = ["a.yaml:1:1", "b.yaml:1:1"];
    assert.deepEqual(await look(), { acting: [], broken: contested, codes, places });
    await write("c.yaml", policy("other")); // nor later, as if one of them had been good
    assert.deepEqual((await look()).broken, contested);
    stop();
    await start();
    assert.deepEqual((await look()).broken, contested);
    await write("b.yaml", policy("p")); // says the same: superfluous, and no harm
    const same = await look();
    assert.deepEqual(same.broken, []);
    assert.deepEqual([same.acting.length, same.codes], [2, ["config.duplicate-name"]]);
  });
});

for (const [kind, text] of [
  ["a policy", policy],
  ["another kind", route],
] as const) {
  test(`watchConfigDirectory() lets the one that acts go on when ${kind} takes its name`, async () => {
    await withFolder(async ({ write, stop, start, look, acting }) => {
      await write("m.yaml", text("p"));
      await look();
      await write("a.yaml", text("p", "DENY"));
      await write("z.yaml", text("p", "DENY"));
      const after = { broken: [], places: ["a.yaml:1:1", "z.yaml:1:1"] };
      const { broken, places } = await look();
      assert.deepEqual({ broken, places }, after);
      assert.deepEqual(acting(), ["m.yaml:1"]);
      stop();
      await start();
      await look();
      assert.deepEqual(acting(), ["m.yaml:1"], "after a restart");
      await write("m.yaml", `${text("p", "DENY")}---\n${text("p")}`);
      await look();
      assert.deepEqual(acting(), ["m.yaml:6"], "in its own file, too");
      await write("m.yaml", "{");
      await look();
      assert.deepEqual(acting(), ["m.yaml:6"], "while its file is broken");
      await write("m.yaml", "");
      await look();
      assert.deepEqual(acting(), ["a.yaml:1"], "when it is gone");
    });
  });
}

test("watchConfigDirectory() takes the first document of the first file at the start", async () => {
  await withFolder(async ({ write, look, acting }) => {
    await write("b.yaml", route("p", "B"));
    await write("a.yaml", `${route("p", "A")}---\n${route("p", "C")}`);
    const { codes, places } = await look();
    assert.deepEqual(acting(), ["a.yaml:1"]);
    assert.deepEqual(places, ["a.yaml:6:1", "b.yaml:1:1"]);
    assert.deepEqual(codes, ["config.duplicate-name", "config.duplicate-name"]);
  });
});

test("watchConfigDirectory() refuses links out of the folder and files without end", async () => {
  await withFolder(async ({ path, write, look }) => {
    await symlink("/etc/hostname", join(path, "out.yaml"));
    await write("big.yaml", "");
    await truncate(join(path, "big.yaml"), 100 * 1024 * 1024);
    const { codes } = await look();
    assert.deepEqual(codes, ["config.unreadable-file", "config.unreadable-file"]);
  });
});

test("watchConfigDirectory() keeps what stood behind a link that leads nowhere, and says so", async () => {
  await withFolder(async ({ path, look }) => {
    await mkdir(join(path, ".shared"));
    await writeFile(join(path, ".shared/a.yaml"), policy("p", "DENY"));
    await symlink(".shared/a.yaml", join(path, "a.yaml"));
    assert.deepEqual((await look()).acting, ["AuthorizationPolicy default/p"]);
    await rm(join(path, ".shared/a.yaml"));
    const { codes, places, acting } = await look();
    assert.deepEqual(acting, ["AuthorizationPolicy default/p"]);
    assert.deepEqual([...codes].toSorted(), ["config.last-good-serves", "config.unreadable-file"]);
    assert.deepEqual([...new Set(places)], ["a.yaml:1:1"]);
    await rm(join(path, "a.yaml"));
    assert.deepEqual((await look()).acting, []);
  });
});

test("watchConfigDirectory() says of a link to a folder that it is not followed", async () => {
  await withFolder(async ({ path, look }) => {
    await mkdir(join(path, "mesh"));
    await writeFile(join(path, "mesh/a.yaml"), policy("p", "DENY"));
    await symlink("mesh", join(path, "again"));
    await symlink("mesh", join(path, ".hidden"));
    const { codes, places } = await look();
    assert.deepEqual(codes, ["config.linked-folder"]);
    assert.deepEqual(places, ["again:1:1"]);
  });
});

test("watchConfigDirectory() keeps a resource whose document no longer tells its kind", async () => {
  await withFolder(async ({ write, look }) => {
    await write("a.yaml", policy("p", "DENY"));
    const acting = (await look()).acting;
    for (const [right, wrong] of [
      ["kind: AuthorizationPolicy", "kind: AuthorizationPolic"],
      ["apiVersion: security.istio.io/v1\n", ""],
      ["kind: AuthorizationPolicy\n", ""],
    ] as const) {
      await write("a.yaml", policy("p", "DENY").replace(right, wrong));
      assert.deepEqual((await look()).acting, acting, wrong);
    }
    await write("a.yaml", "");
    assert.deepEqual((await look()).acting, []);
  });
});

test("watchConfigDirectory() keeps what a folder held while it cannot be read", async () => {
  await withFolder(async ({ path, write, look }) => {
    await mkdir(join(path, "policies"));
    await writeFile(join(path, "policies", "a.yaml"), policy("p", "DENY"));
    await writeFile(join(path, "policies", "broken.yaml"), policy("never-good", "DENIED"));
    await write("b.yaml", route("r"));
    const before = await look();
    assert.equal(before.acting.length, 2);
    await rename(path, `${path}.away`);
    try {
      const { acting, broken, codes } = await look();
      assert.deepEqual(acting, before.acting);
      assert.deepEqual(broken, before.broken, "what is denied for it stays denied");
      assert(codes.includes("config.unreadable-folder"));
    } finally {
      await rename(`${path}.away`, path);
    }
    assert.deepEqual(await look(), before);
    await rm(join(path, "policies"), { recursive: true });
    assert.equal((await look()).acting.length, 1, "a folder that was taken out is taken out");
  });
});

test("LastGood keeps over a restart what lies in a folder that cannot be read", () => {
  const { resources } = parseDocuments(policy("p", "DENY"), "policies/a.yaml");
  const merge = (unread: readonly string[]): number => {
    const found = { files: [], problems: [], unread, hasChanged: true };
    return new LastGood(resources).merge(found).resources.length;
  };
  assert.deepEqual([[""], ["policies"], ["other"], ["pol"], []].map(merge), [1, 1, 0, 0, 0]);
});
