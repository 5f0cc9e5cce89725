import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness, type HarnessOptions } from "../../../test/support/http-harness.ts";
import { message } from "../../../test/support/message.ts";
import { RetryPolicy } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { CallRequest, RunningCall } from "./cluster-call.ts";
import { callRepeatedly, compileCallRetries } from "./repeated-call.ts";

const busy = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
const retryOn = "5xx";
const fine = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** A call whose retries come after 0.5, 1.5 and then 3.5 seconds. */
class Asked {
  readonly mesh: HttpHarness;
  readonly told: string[] = [];
  readonly call: RunningCall;

  constructor(options: HarnessOptions = {}, more: Partial<CallRequest> = {}) {
    this.mesh = new HttpHarness(options);
    const request: CallRequest = {
      cluster: "app",
      method: "GET",
      path: "/check",
      authority: "a",
      headers: [],
      body: undefined,
      timeoutMs: 4_000,
      answerBytesMax: 100,
      ...more,
    };
    const services = { ...this.mesh.callServices, random: () => 0.5 };
    const retry = compileCallRetries(
      message(RetryPolicy, { numRetries: 2, retryOn }),
      "retry_policy",
    );
    this.call = callRepeatedly(services, request, retry, {
      onAnswer: ({ status }) => void this.told.push(String(status)),
      onFailure: (reason, kind) => void this.told.push(`${kind}: ${reason}`),
    });
  }

  /** How often it was asked since the last call. */
  answer(text: string): number {
    let asked = 0;
    for (let at = 0; at < this.mesh.upstreams.length; at++) {
      const upstream = this.mesh.upstream(at);
      if (upstream.take() === "") continue;
      asked++;
      upstream.send(text);
    }
    return asked;
  }
}

test("callRepeatedly() asks again, after a pause, as often as it may", () => {
  const asked = new Asked();
  assert.equal(asked.answer(busy), 1);
  assert.equal(asked.mesh.inUse.retry, 1);
  assert.equal(asked.answer(busy), 0);
  asked.mesh.clock.advance(510);
  assert.equal(asked.answer(fine), 1);
  assert.deepEqual(asked.told, ["200"]);
  assert.equal(asked.mesh.inUse.retry, 0);
  const never = new Asked();
  assert.equal(never.answer(busy), 1);
  never.mesh.clock.advance(510);
  assert.equal(never.answer(busy), 1);
  never.mesh.clock.advance(1_510);
  assert.equal(never.answer(busy), 1);
  assert.deepEqual(never.told, ["503"]);
  assert.equal(never.mesh.inUse.retry, 0);
});

test("callRepeatedly() asks nobody again whose answer stands, or who cannot be asked", () => {
  const denied = new Asked();
  assert.equal(denied.answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"), 1);
  assert.deepEqual(denied.told, ["403"]);
  assert.deepEqual(new Asked({}, { cluster: "none" }).told, ["unasked: there is no cluster none"]);
  const full = new Asked({ limits: { retry: 0 } });
  assert.equal(full.answer(busy), 1);
  assert.deepEqual(full.told, ["503"]);
});

test("callRepeatedly() ends in the time of one call, and with who has asked", () => {
  const late = new Asked({}, { timeoutMs: 400 });
  assert.equal(late.answer(busy), 1);
  assert.deepEqual(late.told, ["503"], "the next would come too late");
  const broken = new Asked();
  broken.mesh.refuse();
  broken.mesh.clock.advance(510);
  assert.equal(broken.mesh.upstreams.length, 2);
  broken.call.cancel();
  assert.equal(broken.mesh.inUse.retry, 0);
  broken.mesh.clock.advance(10_000);
  assert.deepEqual(broken.told, []);
  const waiting = new Asked();
  assert.equal(waiting.answer(busy), 1);
  waiting.call.cancel();
  waiting.mesh.clock.advance(10_000);
  assert.equal(waiting.answer(fine), 0);
  assert.deepEqual(waiting.told, []);
});
