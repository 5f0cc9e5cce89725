/** Codes of problems with Gateways. */
export const gatewayCodes: Readonly<Record<string, string>> = {
  "gateway.selects-nothing": "No gateway has the labels of the selector.",
  "gateway.closed-port": "The gateway does not open the port.",
  "gateway.mixed-port":
    "Servers ask for one port with protocols that do not go together; the first is served.",
  "gateway.unused-port": "No Gateway has a server for a port that the gateway is declared with.",
};
