export default async (print) => {
  try { new ReadableStream({ start() { throw new Error('sync'); } }); print('made'); } catch (e) { print(e.message); }
};
