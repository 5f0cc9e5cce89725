/** Large bodies pass with constant memory: 400 MB of each kind here, 10 GB in `npm run test:full`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { nameOf, startBodyServer, streamBody, streamedBodies } from "../support/body-streams.ts";

let application: Awaited<ReturnType<typeof startBodyServer>> | undefined;

before(async () => {
  application = await startBodyServer();
});

after(() => {
  application?.server.closeAllConnections();
  application?.server.close();
});

for (const body of streamedBodies) {
  test(`400 MB, ${nameOf(body)}`, async (context) => {
    assert.ok(application !== undefined);
    context.diagnostic(await streamBody(body, 400e6, application.port));
  });
}
