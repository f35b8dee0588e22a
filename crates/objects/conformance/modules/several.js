import { add, state } from "./lib.js";
import text from "./note.txt";
import data from "./data.json";
import * as all from "./lib.js";
export default async (print) => { print(add(1, 2), text, data, Object.keys(all).sort()); state.n++; print((await import("./lib.js")).state.n); };
