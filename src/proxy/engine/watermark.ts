/** From how many waiting bytes on whoever writes to a connection must stop. */

const defaultBytes = 1024 * 1024;
/** What is asked for beyond it would be memory for nothing: the kernel holds as much again. */
const mostBytes = 128 * 1024;

/** Of `per_connection_buffer_limit_bytes`: 0 is Envoy's word for no limit, which there is none of here. */
export function writeQueueBytes(limit: number | undefined): number {
  return Math.min(limit === undefined || limit === 0 ? defaultBytes : limit, mostBytes);
}
