/** The README's section "Your own services": its files, as they are written there, with two small services. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { meshModes, startMesh } from "./support/mesh.ts";

const server = (answer: string): string =>
  `import { createServer } from "node:http";
createServer(async (_, response) => response.end(${answer})).listen(process.env.PORT);
`;

for (const mode of meshModes) {
  test(`the README's own services answer through its gateway, ${mode}`, async () => {
    const [what = "", how = ""] = [
      ...readFileSync("README.md", "utf8").matchAll(/^```yaml\n([^]*?)^```$/gm),
    ].map((match) => match[1] ?? "");
    await using mesh = await startMesh({
      mode,
      processes: "heddle",
      files: {
        "heddle.yaml": `${what.replace("hostPort: 8080", "hostPort: 0")}console: { port: 0 }\n`,
        "routes.yaml": how,
        "web.mjs": server('"web, " + (await (await fetch("http://api/")).text())'),
        "api.mjs": server('"api"'),
      },
    });
    const [url = ""] = mesh.gatewayUrls;
    assert.equal(await (await fetch(url)).text(), "web, api");
  });
}
