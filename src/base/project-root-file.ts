/** Beside a bundle: names the clone that it was made of, which may lie elsewhere. */
export const rootFileName = "project-root";
