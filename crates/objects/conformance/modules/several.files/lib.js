export const add = (a, b) => a + b;
export const state = { n: 0 };
