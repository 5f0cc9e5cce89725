import assert from "node:assert/strict";
import { test } from "node:test";

import { moment, phases, RequestTimes, splitTime } from "./request-times.ts";

function timesOf(moments: Partial<Record<keyof typeof moment, number>>): RequestTimes {
  const times = new RequestTimes();
  times.reset(moments.requestBegin ?? 0, moments.requestHeadEnd ?? 0);
  for (const name of Object.keys(moment) as (keyof typeof moment)[]) {
    const ms = moments[name];
    if (ms !== undefined) times.set(moment[name], ms);
  }
  return times;
}

/** Phases that took time, and what they took. */
function check(
  moments: Partial<Record<keyof typeof moment, number>>,
  expected: Readonly<Record<string, number>>,
): void {
  const parts = splitTime(timesOf(moments));
  const named = phases.flatMap((phase, i) => {
    const ms = parts[i] ?? 0;
    return ms > 0 ? [[phase, ms] as const] : [];
  });
  assert.deepEqual(Object.fromEntries(named), expected);
  const sum = named.reduce((total, [, ms]) => total + ms, 0);
  assert.equal(sum, (moments.responseEnd ?? 0) - (moments.requestBegin ?? 0));
}

const sent = { filtersEnd: 3, attemptBegin: 3, sendBegin: 3, sendEnd: 3 };

test("splitTime() gives each phase its milliseconds, and all of them to some phase", () => {
  check(
    {
      requestBegin: 0,
      requestHeadEnd: 1,
      filtersEnd: 21,
      attemptBegin: 30,
      connectBegin: 32,
      connectEnd: 35,
      handshakeEnd: 40,
      sendBegin: 42,
      sendEnd: 52,
      answerBegin: 102,
      responseEnd: 107,
    },
    { downstream: 11, filters: 20, retries: 9, pool: 4, connect: 8, first_byte: 50, last_byte: 5 },
  );
});

test("splitTime() does not count the opening of a connection that was there before", () => {
  const reused = { connectBegin: -90, connectEnd: -80, handshakeEnd: -70 };
  check(
    { requestHeadEnd: 3, ...sent, ...reused, answerBegin: 10, responseEnd: 10 },
    { downstream: 3, first_byte: 7 },
  );
});

test("splitTime() gives what had not ended to the phase that was going on", () => {
  check({ requestHeadEnd: 3, responseEnd: 23 }, { downstream: 3, filters: 20 });
  check({ requestHeadEnd: 3, ...sent, responseEnd: 53 }, { downstream: 3, first_byte: 50 });
  const waiting = { filtersEnd: 3, attemptBegin: 3 };
  check({ requestHeadEnd: 3, ...waiting, responseEnd: 13 }, { downstream: 3, pool: 10 });
  const uploading = { ...waiting, sendBegin: 3 };
  check({ requestHeadEnd: 3, ...uploading, responseEnd: 13 }, { downstream: 13 });
});

test("splitTime() counts an answer before the request was whole", () => {
  check(
    { requestHeadEnd: 3, ...sent, sendEnd: 9, answerBegin: 5, responseEnd: 9 },
    { downstream: 5, last_byte: 4 },
  );
});

test("beginAttempt() forgets the attempt before", () => {
  const times = timesOf({ ...sent, answerBegin: 5 });
  times.beginAttempt(20);
  times.set(moment.sendBegin, 21);
  times.set(moment.responseEnd, 30);
  const named = Object.fromEntries(phases.map((phase, i) => [phase, splitTime(times)[i]]));
  assert.equal(named["retries"], 17);
  assert.equal(named["pool"], 1);
});

test("splitTime() tells questions about authorization apart from what filters waited for", () => {
  const times = timesOf({ requestHeadEnd: 3, ...sent, filtersEnd: 43, responseEnd: 53 });
  times.beginAuthorization(5);
  times.endAuthorization(25);
  times.beginAuthorization(30);
  times.endAuthorization(35);
  const named = Object.fromEntries(phases.map((phase, i) => [phase, splitTime(times)[i]]));
  assert.equal(named["authorization"], 25);
  assert.equal(named["filters"], 15);
  times.endAuthorization(90);
  assert.equal(times.authorizationMs(100), 25, "an answer that nobody waits for");
});

test("splitTime() counts a question without an answer to the end", () => {
  const times = timesOf({ requestHeadEnd: 3, responseEnd: 23 });
  times.beginAuthorization(4);
  const named = Object.fromEntries(phases.map((phase, i) => [phase, splitTime(times)[i]]));
  assert.equal(named["authorization"], 19);
  assert.equal(named["filters"], 1);
  times.reset(30, 30);
  assert.equal(times.authorizationMs(40), 0);
});
