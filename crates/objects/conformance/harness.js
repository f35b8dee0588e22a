// The entry point of every program of the conformance suite: runs it, and answers with what it printed.
import * as all from "./program.js";
export * from "./program.js";

const own = (value) => Object.keys(value).map((key) => `${key}: ${show(value[key])}`);
export const show = (value, depth = 0) => {
  if (typeof value === "string") return depth === 0 ? value : JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "[function]";
  if (typeof value === "symbol") return String(value);
  if (typeof value === "number" && Object.is(value, -0)) return "-0";
  if (value === null || typeof value !== "object") return String(value);
  if (depth > 6) return "...";
  const inner = (item) => show(item, depth + 1);
  if (Array.isArray(value)) return `[${Array.from(value, inner).join(", ")}]`;
  if (value instanceof Map) return `Map{${[...value].map(([k, v]) => `${inner(k)} => ${inner(v)}`).join(", ")}}`;
  if (value instanceof Set) return `Set{${[...value].map(inner).join(", ")}}`;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (value instanceof RegExp) return String(value);
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer[${[...new Uint8Array(value)].join(" ")}]`;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return `${value.constructor.name}[${[...value].join(" ")}]`;
  return `{${own(value).map((text) => (depth < 5 ? text : "...")).join(", ")}}`;
};

export const run = async (env, ctx, request) => {
  const lines = [];
  const print = (...values) => { lines.push(values.map((value) => show(value)).join(" ")); };
  try {
    await all.default(print, env, ctx, request);
  } catch (error) {
    lines.push(`uncaught ${error?.name}: ${error?.message}`);
  }
  return `${lines.join("\n")}\n`;
};

const { fetch: own_fetch } = all;
export default {
  async fetch(request, env, ctx) {
    if (own_fetch && new URL(request.url).pathname !== "/run") return own_fetch(request, env, ctx);
    return new Response(await run(env, ctx, request));
  },
};
