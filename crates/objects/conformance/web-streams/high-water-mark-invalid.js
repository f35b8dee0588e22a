export default async (print) => {
  for (const bad of [-1, NaN, 'x']) try { new ReadableStream({}, { highWaterMark: bad }); print('fine'); } catch (e) { print(e.name); }
};
