import assert from "node:assert/strict";
import { test } from "node:test";

import { requestRecord } from "../../test/support/request-record.ts";
import {
  compileJsonFormat,
  compileTagFormat,
  compileTextFormat,
  istioJsonFormat,
  istioTextFormat,
  parseFormat,
  type JsonFormat,
  type LineFormat,
} from "./access-log-format.ts";
import { LineBuffer } from "./line-buffer.ts";
import type { RequestRecord } from "./request-record.ts";

function lineOf(format: LineFormat | undefined, record: RequestRecord): string {
  const line = new LineBuffer();
  format?.(record, line);
  return format === undefined ? '"refused"' : line.memory.toString("utf8", 0, line.length);
}

function text(format: string, record: RequestRecord = requestRecord()): string {
  return lineOf(compileTextFormat(format).value, record);
}

function json(format: JsonFormat, record: RequestRecord = requestRecord()): unknown {
  return JSON.parse(lineOf(compileJsonFormat(format).value, record));
}

test("compileTextFormat() writes Istio's default format", () => {
  const record = requestRecord({}, { "user-agent": "curl/8" });
  assert.equal(
    text(istioTextFormat, record),
    '[2026-01-02T03:04:05.678Z] "GET /items?q=1 HTTP/1.1" 200 - via_upstream - "-" 5 700 12 9 "-" ' +
      '"curl/8" "7f0c7a4e-0000-4000-8000-000000000001" "catalog" "198.18.0.7:8080" ' +
      "outbound|80||catalog.default.svc.cluster.local 198.18.0.3:40000 198.19.0.2:80 " +
      "198.18.0.3:50000 - default\n",
  );
});

test("compileTextFormat() keeps one value one value, whatever a header holds", () => {
  const record = requestRecord({}, { "user-agent": 'x"\r\n[fake] line\u0000' });
  assert.equal(text('"%REQ(User-Agent)%"', record), '"x\\x22\\x0d\\x0a[fake] line\\x00"');
});

test("compileTextFormat() knows fallbacks, lengths, literal percents and times", () => {
  const record = requestRecord({}, { a: "abcdef" });
  assert.equal(text("%REQ(B?A):3% 100%% %START_TIME(%s.%3f)%", record), "abc 100% 1767323045.678");
  assert.equal(text("%REQ_WITHOUT_QUERY(:PATH)%"), "/items");
});

test("compileTextFormat() reads metadata of endpoints and clusters", () => {
  const record = requestRecord({
    upstreamMetadata: { heddle: { workload: "catalog-v1" } },
    clusterMetadata: { heddle: { service: "catalog", deep: { a: 1 } } },
  });
  assert.equal(
    text(
      "%UPSTREAM_METADATA(heddle:workload)% %UPSTREAM_METADATA(x:y)% %CLUSTER_METADATA(heddle:service)% %CLUSTER_METADATA(heddle:deep:a)%",
      record,
    ),
    "catalog-v1 - catalog 1",
  );
});

test("compileTextFormat() reads what filters found out, one value each", () => {
  const payload = { iss: "me", aud: ["b", "a"], evil: 'x"\r\n[fake]', deep: { b: 1, a: true } };
  const record = requestRecord({ dynamicMetadata: new Map([["jwt", { payload }]]) });
  const formats: readonly (readonly [format: string, expected: string])[] = [
    ["%DYNAMIC_METADATA(jwt:payload:iss)%", "me"],
    ["%METADATA(DYNAMIC:jwt:payload:iss)%", "me"],
    ["%DYNAMIC_METADATA(jwt:payload:aud)%", '["b","a"]'],
    ["%DYNAMIC_METADATA(jwt:payload:deep)%", '{"a":true,"b":1}'],
    ["%DYNAMIC_METADATA(jwt:payload:toString)%", "-"],
    ["%DYNAMIC_METADATA(other:payload)%", "-"],
    ['"%DYNAMIC_METADATA(jwt:payload:evil)%"', '"x\\x22\\x0d\\x0a[fake]"'],
  ];
  for (const [format, expected] of formats) assert.equal(text(format, record), expected, format);
  assert.equal(text("%DYNAMIC_METADATA(jwt:payload)%", requestRecord({})), "-");
});

test("parseFormat() refuses operators it does not know", () => {
  for (const format of [
    "%NO_SUCH%",
    "%REQ(a",
    "%REQ()%",
    "%DURATION(x)%",
    "%FILTER_STATE(a:FIELD:b)%",
    "50% off",
  ]) {
    assert.equal(parseFormat(format).problems.length, 1, format);
  }
});

test("compileJsonFormat() writes Istio's keys, numbers as numbers and absent values as null", () => {
  const entry = json(istioJsonFormat);
  assert.deepEqual(Object.keys(Object(entry)), Object.keys(istioJsonFormat).toSorted());
  assert.partialDeepStrictEqual(entry, {
    response_code: 200,
    duration: 12,
    upstream_service_time: "9",
    user_agent: null,
    response_flags: "-",
    method: "GET",
  });
});

test("compileJsonFormat() nests, mixes and escapes", () => {
  const record = requestRecord({}, { a: 'q"\n\\ é€\ud800 ' + "long ".repeat(2000) });
  assert.deepEqual(json({ b: ["%REQ(a)%", { c: "x %REQ(none)% y" }], a: true, n: null }, record), {
    a: true,
    b: ['q"\n\\ é€\ud800 ' + "long ".repeat(2000), { c: "x - y" }],
    n: null,
  });
});

test("compileTextFormat() writes numbers as they are", () => {
  for (const bytesSent of [0, 9, 10, 4_294_967_296, 9_007_199_254_740_991]) {
    assert.equal(text("%BYTES_SENT%", requestRecord({ bytesSent })), String(bytesSent));
  }
});

test("compileTagFormat() leaves absent values empty", () => {
  const tag = (format: string) => compileTagFormat(format).value?.(requestRecord());
  assert.equal(tag("%REQ(none)%"), "");
  assert.equal(tag("source"), "source");
  assert.equal(tag("%RESPONSE_FLAGS%"), "-");
});

test("compileTextFormat() tells a status of gRPC for calls of gRPC alone", () => {
  const statusOf = (contentType: string): string =>
    text(
      "%GRPC_STATUS% %GRPC_STATUS(NUMBER)%",
      requestRecord({ grpcStatus: 5 }, { "content-type": contentType }),
    );
  assert.equal(statusOf("application/grpc"), "NotFound 5");
  assert.equal(statusOf("application/grpc+proto"), "NotFound 5");
  assert.equal(statusOf("application/json"), "- -");
  assert.equal(statusOf("application/grpc-web"), "- -");
});
