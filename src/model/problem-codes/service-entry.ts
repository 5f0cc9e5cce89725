/** Codes of problems with ServiceEntries. */
export const serviceEntryCodes: Readonly<Record<string, string>> = {
  "serviceentry.duplicate-host": "The host is declared already.",
  "serviceentry.indistinct":
    "Nothing tells TCP connections to the host from those to another; the other gets them.",
  "serviceentry.no-address-left": "Every address for hosts without one is given away.",
  "serviceentry.udp-not-captured": "UDP to a host goes around its callers' sidecars.",
  "serviceentry.wildcard-dns": "A wildcard cannot be resolved by DNS.",
  "serviceentry.static-name": "An endpoint is a name where an address is needed.",
  "serviceentry.unix-socket":
    "An endpoint at a Unix socket is written in a way that nobody can reach it by.",
};
