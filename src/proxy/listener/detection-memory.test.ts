import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { DetectionMemory } from "./detection-memory.ts";

const at = (port: number, address = "10.0.0.1") => ({ address, port });
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

function memory() {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  return { clock, metrics, memory: new DetectionMemory(clock, metrics) };
}

test("DetectionMemory learns by who speaks first, and unlearns", () => {
  const { memory: learning } = memory();
  const destination = at(3306);
  assert.equal(learning.of(destination), undefined);
  learning.onFirstWords(destination, "server", bytes("220 ready"));
  assert.equal(learning.of(destination), "server-first");
  learning.onFirstWords(destination, "client", bytes("hello\n"));
  assert.equal(learning.of(destination), undefined);
  const answer = learning.onFirstWords(destination, "client", bytes("GET / HTTP/1.1\r\n"));
  assert.equal(learning.of(destination), undefined);
  answer?.("client", bytes("\r\n"))?.("server", bytes("HTTP/1.1 200 OK\r\n"));
  assert.equal(learning.of(destination), "http");
});

test("DetectionMemory does not take a server for one of HTTP because somebody asks it so", () => {
  const { memory: learning } = memory();
  const destination = at(3306);
  learning.onFirstWords(destination, "server", bytes("220 ready"));
  const answer = learning.onFirstWords(destination, "client", bytes("GET / HTTP/1.1\r\n\r\n"));
  assert.equal(answer?.("server", bytes("220 ready")), undefined);
  assert.equal(learning.of(destination), "server-first");
});

test("DetectionMemory forgets what nobody confirms", () => {
  const { clock, memory: learning } = memory();
  learning.learn(at(1), "http");
  clock.advance(599_000);
  assert.equal(learning.of(at(1)), "http");
  learning.learn(at(1), "http");
  clock.advance(599_000);
  assert.equal(learning.of(at(1)), "http");
  clock.advance(2_000);
  assert.equal(learning.of(at(1)), undefined);
});

test("DetectionMemory is bounded: the oldest makes room, and is counted", () => {
  const { metrics, memory: learning } = memory();
  for (let port = 1; port <= 5000; port++) learning.learn(at(port), "http");
  assert.equal(learning.size, 4096);
  assert.equal(learning.of(at(904)), undefined);
  assert.equal(learning.of(at(905)), "http");
  const evicted = metrics.counter("heddle_detection_memory_evicted_total", "");
  assert.equal(evicted.value, 904);
});

test("DetectionMemory notes a bounded number of destinations", () => {
  const { metrics, memory: learning } = memory();
  for (let port = 1; port <= 300; port++) learning.note(at(port), "http/1.1");
  learning.note(at(1), "http/1.1");
  assert.equal(metrics.counter("heddle_protocol_seen_overflow_total", "").value, 44);
  const labels = { destination: "10.0.0.1:1", seen: "http/1.1" };
  assert.equal(metrics.counter("heddle_protocol_seen_total", "", labels).value, 2);
});
