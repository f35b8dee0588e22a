export default (print) => {
  for (const name of ['fetch', 'Request', 'Response', 'Headers', 'FormData', 'Blob', 'File', 'URL', 'URLSearchParams', 'URLPattern', 'TextEncoder', 'TextDecoder', 'ReadableStream', 'WritableStream', 'TransformStream',
    'AbortController', 'AbortSignal', 'EventTarget', 'Event', 'crypto', 'structuredClone', 'setTimeout', 'setInterval', 'clearTimeout', 'clearInterval', 'queueMicrotask', 'atob', 'btoa', 'console', 'performance', 'navigator',
    'WebSocket', 'WebSocketPair', 'CompressionStream', 'DecompressionStream', 'TextEncoderStream', 'TextDecoderStream', 'DOMException', 'CustomEvent', 'MessageEvent', 'CloseEvent', 'ErrorEvent', 'CryptoKey', 'SubtleCrypto',
    'FixedLengthStream', 'IdentityTransformStream', 'self', 'globalThis', 'scheduler', 'window', 'document', 'XMLHttpRequest', 'localStorage', 'require']) print(name, typeof globalThis[name]);
};
