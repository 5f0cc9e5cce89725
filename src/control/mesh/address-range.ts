/** Ranges of addresses as data planes compare them: two that are the same range must read the same. */
import { ipv6Groups } from "../../wire/ip-text.ts";

/** `10.1.2.3/8` as `10.0.0.0/8`, one address as a range of its own; what it is given must be a range. */
export function canonicalRange(block: string): string {
  const [address = "", length] = block.split("/", 2);
  const isIpv6 = address.includes(":");
  const groupBits = isIpv6 ? 16 : 8;
  const groups = isIpv6 ? ipv6Groups(address) : address.split(".").map(Number);
  const bits = length === undefined ? groups.length * groupBits : Number(length);
  const kept = groups.map((group, index) => {
    const free = Math.min(Math.max((index + 1) * groupBits - bits, 0), groupBits);
    return (group >> free) << free;
  });
  const text = isIpv6 ? kept.map((one) => one.toString(16)).join(":") : kept.join(".");
  return `${text}/${bits}`;
}
