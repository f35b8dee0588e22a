import { a } from "./a.js";
export const b = (n) => (n === 0 ? "b" : a(n - 1));
