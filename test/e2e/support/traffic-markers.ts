/**
 * What the traffic suite sends so that it can be looked for on the links of a mesh: strings that appear
 * nowhere else. Read by its tests and by its applications.
 */

/** All strings begin with it. */
export const markerPrefix = "qzxmarker";

/** Sent wherever the way between two sidecars is encrypted: nobody may read them there. */
export const markers: readonly string[] = Array.from(
  { length: 20 },
  (_, index) => `${markerPrefix}${String(index).padStart(2, "0")}`,
);

/** Sent in plaintext on purpose, to show that a capture would have found the others. */
export const plainMarker: string = `${markerPrefix}99`;

/** Fills bodies and transfers. */
export const filler: string = `${markers.join(" ")} `;
