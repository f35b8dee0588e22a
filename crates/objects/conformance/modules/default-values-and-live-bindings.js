import { count, inc } from "./counter.js";
export default (print) => { print(count); inc(); print(count); try { count = 5; } catch (e) { print(e.name); } };
