/**
 * What capture and a sidecar must agree on: where the kernel looks which of the sidecar's ports takes the
 * datagrams for an address and port of a service (maps `services4`, `services6` of this nft table).
 */
export const datagramTable = "heddle-datagrams";
