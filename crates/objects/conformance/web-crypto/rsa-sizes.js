export default async (print) => {
  const make = async (modulusLength) => (await crypto.subtle.generateKey({ name: 'RSA-PSS', modulusLength, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' }, true, ['sign'])).publicKey.algorithm.modulusLength;
  for (const bits of [512, 1024, 1920, 2048, 2176, 3072, 4224]) try { print(bits, await make(bits)); } catch (e) { print(bits, e.name); }
};
