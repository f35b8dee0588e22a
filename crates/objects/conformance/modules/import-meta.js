export default async (print) => { print(typeof import.meta); try { await import("./missing.js"); print('fine'); } catch (e) { print(e instanceof Error); } };
