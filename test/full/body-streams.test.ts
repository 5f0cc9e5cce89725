/** Bodies of 10 GB pass with constant memory. `test/long` has the same with shorter ones. */
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
  test(`10 GB, ${nameOf(body)}`, async (context) => {
    assert.ok(application !== undefined);
    context.diagnostic(await streamBody(body, 10e9, application.port));
  });
}
