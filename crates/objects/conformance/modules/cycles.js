import { a } from "./a.js";
export default (print) => { print(a(3)); };
