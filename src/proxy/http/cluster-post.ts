/** Posts a body to a path of a cluster, for what the proxy itself has to say (spans). */
import { callCluster, type CallServices } from "./cluster-call.ts";

export interface PostTarget {
  readonly cluster: string;
  readonly authority: string;
  readonly path: string;
  readonly contentType: string;
  /** More of them, names in lower case. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly timeoutMs: number;
}

/** `reason` is undefined when the answer was 2xx. */
export type PostDone = (reason: string | undefined) => void;

/** Nobody reads what a collector has to say beyond its status. */
const answerBytesMax = 64 * 1024;

/** Never throws; `done` is called once. */
export function postToCluster(
  services: CallServices,
  target: PostTarget,
  body: Uint8Array,
  done: PostDone,
): void {
  const { contentType, headers: more = [], ...where } = target;
  const headers = [["content-type", contentType] as const, ...more];
  services.upstreams.wheel.touch();
  callCluster(
    services,
    { ...where, method: "POST", headers, body, answerBytesMax },
    {
      onAnswer: ({ status }) =>
        done(status >= 200 && status < 300 ? undefined : `the answer is ${status}`),
      onFailure: done,
    },
  );
}
