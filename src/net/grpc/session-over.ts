/** Emitted on a session when its streams should end because the connection has lived long enough. */
export const sessionOverEvent = "heddle:over";
