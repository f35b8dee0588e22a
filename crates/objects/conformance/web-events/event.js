export default (print) => {
  const e = new Event('x', { bubbles: true, cancelable: true });
  print(e.type, e.bubbles, e.cancelable, e.composed, e.defaultPrevented, e.eventPhase, e.target, e.currentTarget, e.isTrusted, e.returnValue, e.cancelBubble);
  e.preventDefault(); print(e.defaultPrevented, e.returnValue);
  const n = new Event('y'); n.preventDefault(); print(n.defaultPrevented);
  print(Event.NONE, Event.CAPTURING_PHASE, Event.AT_TARGET, Event.BUBBLING_PHASE, e.AT_TARGET, Object.prototype.toString.call(e));
  try { new Event(); } catch (x) { print(x.name); }
  const c = new CustomEvent('z', { detail: { a: 1 } }); print(c.type, c.detail, new CustomEvent('q').detail, c instanceof Event);
};
