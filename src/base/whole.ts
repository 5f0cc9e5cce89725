/**
 * Every member of `T`, those too that may be absent: what stands for another implements this, so that
 * it cannot forget one which is added later.
 */
export type Whole<T> = { [K in keyof Required<T>]: T[K] };
