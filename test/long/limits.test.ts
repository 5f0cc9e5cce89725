/** At its limit: half a minute here, ten in `npm run test:full`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import {
  limitedKinds,
  serveAtTheLimit,
  shedNearTheLimit,
  startApplication,
} from "../support/at-its-limit.ts";

let application: Awaited<ReturnType<typeof startApplication>> | undefined;

before(async () => {
  application = await startApplication();
});

after(() => {
  application?.server.closeAllConnections();
  application?.server.close();
});

for (const kind of limitedKinds) {
  test(`1,000 requests/s in 128 MiB and 0.2 cores, ${kind.name}`, async (context) => {
    assert.ok(application !== undefined);
    context.diagnostic(await serveAtTheLimit(kind, application.port, 30_000));
  });

  test(`near the limit it sheds instead of being ended, ${kind.name}`, async (context) => {
    assert.ok(application !== undefined);
    context.diagnostic(await shedNearTheLimit(kind, application.port));
  });
}
