export default (print) => {
  for (const C of [Headers, Request, Response, URL, URLSearchParams, Blob, File, FormData, EventTarget, Event, AbortController, AbortSignal, TextEncoder, TextDecoder, ReadableStream, WritableStream, TransformStream]) {
    print(C.name, typeof C, Object.prototype.toString.call(C.prototype), C.prototype.constructor === C, Object.prototype.propertyIsEnumerable.call(globalThis, C.name));
    try { C(); print('called'); } catch (e) { print(e.name); }
  }
};
