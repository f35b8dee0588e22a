export default (print) => {
  for (const v of [new Int8Array([-1, 2]), new Uint8Array([1, 255]), new Uint8ClampedArray([3]), new Int16Array([-300]), new Uint16Array([65535]), new Int32Array([-1]), new Uint32Array([4294967295]),
    new Float32Array([1.5]), new Float64Array([0.1]), new BigInt64Array([-5n]), new BigUint64Array([5n]), new Uint8Array([1, 2, 3, 4]).buffer, new Uint16Array([1, 2, 3]).subarray(1)]) print(structuredClone(v));
  const d = structuredClone(new DataView(new Uint8Array([1, 2, 3]).buffer, 1, 1)); print(d.byteLength, d.byteOffset, d.getUint8(0), d.buffer.byteLength);
};
