const value = await Promise.resolve(5);
export default (print) => { print(value); };
