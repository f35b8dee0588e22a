// ctx.storage: keys and values, the alarm, transactions.
const { p } = core;
const { keyBytes, valueBytes, keysAtOnce } = ops.limits;
const secret = {};
const decode = (bytes) => core.clone.decode(bytes);
const encode = (value) => {
  const bytes = core.clone.encode(value);
  if (bytes.length > valueBytes) throw new p.RangeError(`Values cannot be larger than ${valueBytes} bytes. A value of size ${bytes.length} was provided.`);
  return bytes;
};
const checked = (key) => {
  // Three bytes a character at most: only a long key needs to be counted.
  if (key.length * 3 > keyBytes && ops.utf8Encode(key).length > keyBytes) throw new p.RangeError(`Keys cannot be larger than ${keyBytes} bytes.`);
  return key;
};
const keysOf = (keys) => {
  const list = core.list(keys);
  if (list.length > keysAtOnce) throw new p.RangeError(`Maximum number of keys is ${keysAtOnce}.`);
  for (let i = 0; i < list.length; i++) list[i] = checked(`${list[i]}`);
  return list;
};
const isList = (keys) => typeof keys === 'object' && keys !== null && p.isArray(keys);
const getOne = (key) => { const bytes = ops.kvGet(checked(key)); return bytes === undefined ? undefined : decode(bytes); };
const get = (keys) => {
  if (!isList(keys)) return getOne(`${keys}`);
  const list = p.ArraySort(keysOf(keys)), found = new p.Map();
  for (let i = 0; i < list.length; i++) {
    const value = getOne(list[i]);
    if (value !== undefined) p.MapSet(found, list[i], value);
  }
  return found;
};
const unconfirmed = (options) => options?.allowUnconfirmed === true;
const NO_VALUE = 'put() called with undefined value.';
const putOne = (key, value, loose) => { ops.kvPut(checked(key), encode(value), loose); };
const putMany = (entries, loose) => {
  const names = p.keys(entries);
  if (names.length > keysAtOnce) throw new p.RangeError(`Maximum number of pairs is ${keysAtOnce}.`);
  // All values are encoded before the first is written: a value that cannot be stored leaves no other behind.
  const pairs = [];
  for (let i = 0; i < names.length; i++) {
    if (entries[names[i]] !== undefined) p.ArrayPush(pairs, [checked(names[i]), encode(entries[names[i]])]);
  }
  for (let i = 0; i < pairs.length; i++) ops.kvPut(pairs[i][0], pairs[i][1], loose);
};
const put = (args) => {
  if (typeof args[0] === 'object' && args[0] !== null) putMany(args[0], unconfirmed(args[1]));
  else {
    if (args[1] === undefined) throw new p.TypeError(NO_VALUE);
    putOne(`${args[0]}`, args[1], unconfirmed(args[2]));
  }
};
const del = (keys, loose) => {
  if (!isList(keys)) return ops.kvDelete(checked(`${keys}`), loose);
  const list = keysOf(keys);
  let n = 0;
  for (let i = 0; i < list.length; i++) n += ops.kvDelete(list[i], loose) ? 1 : 0;
  return n;
};
const text = (value) => value === undefined || value === null ? undefined : checked(`${value}`);
const rangeOf = (options) => {
  const limit = options?.limit;
  if (limit !== undefined && !(p.Number(limit) > 0)) throw new p.TypeError('List limit must be positive.');
  if (options?.start !== undefined && options?.startAfter !== undefined) throw new p.TypeError('list() cannot be called with both start and startAfter values.');
  return [text(options?.start), text(options?.startAfter), text(options?.end), text(options?.prefix), options?.reverse === true,
    limit === undefined ? undefined : p.min(p.floor(p.Number(limit)), 4294967295)];
};
const list = (options) => {
  const found = ops.kvList(rangeOf(options)), map = new p.Map();
  for (let i = 0; i < found.length; i += 2) p.MapSet(map, found[i], decode(found[i + 1]));
  return map;
};
const promised = (run) => { try { return p.promiseResolve(run()); } catch (error) { return p.promiseReject(error); } };
const timeOf = (time) => {
  if (!(time instanceof p.Date) && typeof time !== 'number' && typeof time !== 'bigint') {
    throw new p.TypeError("Failed to execute 'setAlarm' on 'DurableObjectStorage': parameter 1 is not of type 'date'.");
  }
  const ms = time instanceof p.Date ? p.DateGetTime(time) : p.Number(time);
  if (ms !== ms) throw new p.TypeError('The value cannot be converted because it is not a valid Date.');
  if (!(ms > 0)) throw new p.TypeError('setAlarm() cannot be called with an alarm time <= 0');
  return ms;
};
const hasAlarm = () => { if (!core.instanceHas('alarm')) throw new p.TypeError("Your Durable Object class must have an alarm() handler in order to call setAlarm()"); };

class SyncKvStorage {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get(key) { return getOne(`${key}`); }
  put(key, value) { putOne(`${key}`, value, false); }
  delete(key) { return ops.kvDelete(checked(`${key}`), false); }
  *list(options = undefined) {
    const found = ops.kvList(rangeOf(options));
    for (let i = 0; i < found.length; i += 2) yield [found[i], decode(found[i + 1])];
  }
}
core.brand(SyncKvStorage, 'SyncKvStorage');

const waiting = new p.Map();
core.on.synced = (number) => { const resolve = p.MapGet(waiting, number); p.MapDelete(waiting, number); resolve?.(); };

class Operations {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get(keys, options = undefined) { void options; return promised(() => get(keys)); }
  put(...args) { return promised(() => put(args)); }
  delete(keys, options = undefined) { return promised(() => del(keys, unconfirmed(options))); }
  list(options = undefined) { return promised(() => list(options)); }
  deleteAll(options = undefined) { return promised(() => ops.deleteAll(unconfirmed(options))); }
  getAlarm(options = undefined) { void options; return promised(() => ops.getAlarm()); }
  setAlarm(time, options = undefined) { return promised(() => { hasAlarm(); ops.setAlarm(timeOf(time), unconfirmed(options)); }); }
  deleteAlarm(options = undefined) { return promised(() => ops.setAlarm(null, unconfirmed(options))); }
}
class DurableObjectTransaction extends Operations {
  #over = false;
  #open(name) { if (this.#over) throw new p.Error(`Cannot ${name}() on rolled back transaction`); }
  get(keys, options = undefined) { return promised(() => { this.#open('get'); void options; return get(keys); }); }
  put(...args) { return promised(() => { this.#open('put'); return put(args); }); }
  delete(keys, options = undefined) { return promised(() => { this.#open('delete'); return del(keys, unconfirmed(options)); }); }
  list(options = undefined) { return promised(() => { this.#open('list'); return list(options); }); }
  rollback() {
    if (this.#over) return;
    this.#over = true;
    ops.endTransaction(false);
    ops.beginTransaction();
  }
  static finish(transaction, commit) { ops.endTransaction(commit && !transaction.#over); transaction.#over = true; }
}
const { finish } = DurableObjectTransaction;
delete DurableObjectTransaction.finish;
core.brand(DurableObjectTransaction, 'DurableObjectTransaction');

class DurableObjectStorage extends Operations {
  #kv = null; #sql = null;
  get kv() { return this.#kv ??= new SyncKvStorage(secret); }
  get sql() { return this.#sql ??= core.load('sql').open(); }
  async transaction(closure) {
    const outcome = await core.section(async () => {
      ops.beginTransaction();
      const transaction = new DurableObjectTransaction(secret);
      let value;
      try { value = await closure(transaction); } catch (error) {
        finish(transaction, false);
        return { error, threw: true };
      }
      finish(transaction, true);
      return { value, threw: false };
    }, (error) => { const problem = core.problemOf(error, true); problem[7] = true; ops.reset(problem); });
    if (outcome.threw) throw outcome.error;
    return outcome.value;
  }
  transactionSync(closure) {
    ops.beginSync();
    let value;
    try { value = closure(); } catch (error) { ops.endSync(false); throw error; }
    ops.endSync(true);
    return value;
  }
  sync() {
    return promised(() => {
      const number = ops.sync();
      if (number === 0) return undefined;
      const { promise, resolve } = p.withResolvers();
      p.MapSet(waiting, number, resolve);
      return promise;
    });
  }
}
core.brand(Operations, 'DurableObjectStorageOperations');
core.brand(DurableObjectStorage, 'DurableObjectStorage');
return { open: () => new DurableObjectStorage(secret) };
