/** Which answers are their connection's last, for reasons that every protocol of HTTP has. */
import type { HttpServices } from "./http-services.ts";

/** `requests`: that the connection has carried. Counts the reason, so it is asked once for each answer. */
export function isLastAnswer(
  { settings, context, direction, ignoresHealth, counters }: HttpServices,
  requests: number,
): boolean {
  const { limits } = counters;
  if (context.drain?.closesAnswer(direction, ignoresHealth) === true) {
    limits.drainedConnections.add();
    return true;
  }
  if (context.overload?.endsConnections === true) {
    limits.unkeptConnections.add();
    return true;
  }
  const max = settings.maxRequestsPerConnection;
  if (max === 0 || requests < max) return false;
  limits.usedConnections.add();
  return true;
}
