/** Tells whoever runs the workloads what is wrong with the configuration, whenever that has changed. */
import type { Clock, Timer } from "../../base/clock.ts";
import type { ControlPlane } from "../../control/control-view.ts";
import { type ControlProblemsMessage, toldProblemsMax } from "../../control/options.ts";

export interface TellProblems {
  readonly controlPlane: Pick<
    ControlPlane & { settled(): Promise<void> },
    "onChange" | "problems" | "settled" | "workloads"
  >;
  readonly channel: { send(message: ControlProblemsMessage): void };
  readonly clock: Clock;
}

/** A change of the configuration makes several: one that is translated, and each proxy's answer. */
const quietMs = 150;

/** Begins with what is wrong now; the return value ends it. */
export function tellProblems({ controlPlane, channel, clock }: TellProblems): () => Promise<void> {
  let timer: Timer | undefined;
  let told = "";
  const tell = async (): Promise<void> => {
    timer = undefined;
    await controlPlane.settled();
    // Who does not know what runs finds fault with every name.
    if (controlPlane.workloads() === undefined || timer !== undefined) return;
    const problems = controlPlane
      .problems()
      .filter(({ code }) => !code.startsWith("heddle-file."))
      .toSorted((a, b) => Number(b.severity === "error") - Number(a.severity === "error"))
      .slice(0, toldProblemsMax);
    const text = JSON.stringify(problems);
    if (text === told) return;
    told = text;
    channel.send({ kind: "problems", problems });
  };
  const schedule = (): void => {
    timer ??= clock.schedule(quietMs, () => void tell());
  };
  const stop = controlPlane.onChange(schedule);
  schedule();
  return () => {
    stop();
    timer?.cancel();
    return Promise.resolve();
  };
}
