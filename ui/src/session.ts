/**
 * The token that opens the console. It arrives after the hash of the address that `heddle up` prints,
 * is kept for this origin alone, and leaves the address bar at once.
 */
const key = "heddle-token";

export function takeTokenFromAddress(): void {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (token === undefined) return;
  localStorage.setItem(key, token);
  history.replaceState(undefined, "", `${location.pathname}#/`);
}

/** Takes a token, or the whole address that carries it. False when it is neither. */
export function takeToken(text: string): boolean {
  const token = /(?:^|#token=)([\w-]{16,})$/.exec(text.trim())?.[1];
  if (token === undefined) return false;
  localStorage.setItem(key, token);
  return true;
}

/** What every request to the console carries. */
export function authorization(): Readonly<Record<string, string>> {
  const token = localStorage.getItem(key);
  return token === null ? {} : { authorization: `Bearer ${token}` };
}
