/** Injected delays and failures, and answers that come slowly: Envoy's `fault` filter; the engine decides, this waits and answers. */
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";
import { compileFault, type Fault, type FaultAbort } from "../engine/fault.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";
import { flag } from "./response-flags.ts";

export class FaultOverride {
  readonly fault: Fault;

  constructor(fault: Fault) {
    this.fault = fault;
  }
}

export function compileFaultOverride(bytes: Uint8Array, path: string): FaultOverride {
  return new FaultOverride(compileFault(HTTPFault.decode(bytes), path));
}

/** A delayed stream is resumed at the next filter: its abort is decided again by nobody. */
class PendingAbort {
  readonly abort: FaultAbort | undefined;

  constructor(abort: FaultAbort | undefined) {
    this.abort = abort;
  }
}

export function createFaultFilters(
  bytes: Uint8Array,
  name: string,
  path: string,
): readonly HttpFilter[] {
  const own = compileFault(HTTPFault.decode(bytes), path);
  let active = 0;
  const decide: HttpFilter = {
    name,
    onRequest(stream: FilterStream): FilterVerdict {
      const override = stream.override(name);
      const fault = override instanceof FaultOverride ? override.fault : own;
      if (!fault.canInject) return "continue";
      const cluster = stream.outcome.kind === "forward" ? stream.outcome.cluster : "";
      const decision = fault.decide(
        (header) => stream.request.header(header),
        cluster,
        stream.random,
      );
      if (decision === undefined) return "continue";
      if (active >= fault.activeMax) return "continue";
      active++;
      if (decision.bytesPerSecond > 0) stream.answer.throttle(decision.bytesPerSecond);
      stream.filterState = new PendingAbort(decision.abort);
      if (decision.delayMs === 0) return "continue";
      stream.record.flags |= flag.delayInjected;
      stream.pauses.resumeAfter(decision.delayMs);
      return "wait";
    },
    onStreamEnd(stream: FilterStream): void {
      if (stream.filterState instanceof PendingAbort) active--;
    },
  };
  return [decide, { name, onRequest: answerAbort }];
}

/** After the delay, if there was one. */
function answerAbort(stream: FilterStream): FilterVerdict {
  const pending = stream.filterState;
  if (!(pending instanceof PendingAbort) || pending.abort === undefined) return "continue";
  const { abort } = pending;
  if (abort.kind === "http") {
    stream.reply("fault", { status: abort.status, body: abort.body });
  } else {
    stream.reply("fault", { status: 200, grpcStatus: abort.status, body: abort.body });
  }
  return "answered";
}
