// Values of RPC.
const { p } = core;
const { rpcBytes } = ops.limits;
/** Asked about functions, and about objects of any class: neither is data. */
const refuse = (value) => {
  const name = typeof value === 'function' ? 'Function' : core.usv(value.constructor?.name ?? 'Object');
  throw new p.DOMException(`Could not serialize object of type "${name}". This type does not support serialization.`, 'DataCloneError');
};
const encode = (value) => {
  const bytes = core.clone.encode(value, refuse);
  if (bytes.length > rpcBytes) throw new p.Error(`Serialized RPC arguments or return values are limited to ${rpcBytes} bytes, but the size of this value was: ${bytes.length} bytes.`);
  return bytes;
};
const RESERVED = { __proto__: null, constructor: 1, fetch: 1, alarm: 1, webSocketMessage: 1, webSocketClose: 1, webSocketError: 1, connect: 1, tail: 1, trace: 1, scheduled: 1, queue: 1, test: 1, dup: 1 };
const missing = (name) => new p.TypeError(`The RPC receiver does not implement the method "${name}".`);

/** Only what the class declares: neither what an instance happens to have nor what every object has. */
const member = (target, name, first) => {
  if (first && name in RESERVED) throw new p.TypeError(`'${name}' is a reserved method and cannot be called over RPC.`);
  if (!first) {
    if ((typeof target !== 'object' && typeof target !== 'function') || target === null) throw missing(name);
    if (p.ObjectHasOwnProperty(target, name)) return target[name];
  }
  for (let at = p.getPrototypeOf(target); at !== null && at !== p.objectProto && at !== p.functionProto; at = p.getPrototypeOf(at)) {
    if (p.ObjectHasOwnProperty(at, name)) {
      if (name === 'constructor') break;
      return target[name];
    }
  }
  throw missing(name);
};
return {
  encode,
  decode: (bytes) => core.clone.decode(bytes),
  run: async (instance, id, path, args) => {
    let target = instance, value = instance;
    for (let i = 0; i < path.length; i++) {
      target = value;
      value = member(target, path[i], i === 0);
      if (i + 1 < path.length) value = await value;
    }
    if (args === null) return encode(await value);
    if (typeof value !== 'function') throw new p.TypeError(`"${p.ArrayJoin(path, '.')}" is not a function.`);
    let result;
    try { result = await p.apply(value, target, core.clone.decode(args)); } catch (error) {
      if (error instanceof p.Error) p.defineProperty(error, 'durableObjectId', { __proto__: null, value: id, writable: true, enumerable: true, configurable: true });
      throw error;
    }
    return encode(result);
  },
};
