import { b } from "./b.js";
export const a = (n) => (n === 0 ? "a" : b(n - 1));
