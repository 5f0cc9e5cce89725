// Charges cards. The bank behind it is slow at times and fails one charge in thirty.
import { setTimeout as pause } from "node:timers/promises";

import { HttpError, serve } from "./web.mjs";

serve({
  "POST /charge": async ({ body }) => {
    const amount = Number(body?.amount);
    if (!(amount > 0)) throw new HttpError(400, "amount must be above 0");
    await pause(8 + Math.random() ** 3 * 120);
    if (Math.random() < 1 / 30) throw new HttpError(503, "the bank does not answer");
    return { paid: amount, receipt: `${body.order ?? "none"}-ok` };
  },
});
