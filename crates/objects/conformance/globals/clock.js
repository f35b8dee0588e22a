export default async (print) => {
  const a = Date.now();
  await new Promise((r) => setTimeout(r, 15)); print(Date.now() - a >= 15);
};
