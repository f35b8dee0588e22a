//! What programs cannot show: that patches of the user's do not reach our scripts, and what an idle realm costs.

use crate::bare::{compile, load, realm, settle, start};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("globals_are_there_and_run_lazily", globals_are_there_and_run_lazily),
    ("patched_prototypes_do_not_reach_our_scripts", patched_prototypes_do_not_reach_our_scripts),
    ("an_idle_realm_is_small", an_idle_realm_is_small),
];

fn check(body: &str, expected: &str) {
    let main = format!(
        "const join = (list) => {{ let out = ''; for (let i = 0; i < list.length; i++) out += (i ? ' ' : '') + list[i]; return out; }}; let lines = ''; const print = (...a) => {{ lines += (lines ? '\\n' : '') + join(a); core.transcript = lines; }};
         (async () => {{ try {{ {body}\n }} catch (e) {{ print('uncaught', e, e?.stack); }} }})();"
    );
    let realm = realm(&main);
    load(&realm);
    settle(&realm);
    let transcript: String = realm.with(|_, core| core.get("transcript")).expect("the program printed");
    assert_eq!(transcript, expected);
}

fn globals_are_there_and_run_lazily() {
    check(
        "print(new URL('../b?x=1#h', 'https://u:p@example.com:8080/a/c').href, typeof FormData);
         print(btoa('hello'), atob(' aGVs bG8= '), [...new TextEncoder().encode('é€')].length);
         try { eval('1'); } catch (e) { print(e instanceof Error); }
         try { new Function('return 1')(); } catch (e) { print(e instanceof Error); }",
        "https://u:p@example.com:8080/b?x=1#h function\naGVsbG8= hello 5\ntrue\ntrue",
    );
}

fn patched_prototypes_do_not_reach_our_scripts() {
    check(
        "Array.prototype.push = () => { throw new Error('patched'); };
         Map.prototype.get = Promise.prototype.then = String.prototype.slice = () => { throw new Error('patched'); };
         const url = new URL('http://a/?x=1'); url.searchParams.append('y', '2');
         const copy = structuredClone({ a: new Map([[1, new Date(5)]]) });
         Map.prototype.get = null;
         print(url.href, copy.a.size);",
        "http://a/?x=1&y=2 1",
    );
}

fn an_idle_realm_is_small() {
    const REALMS: usize = 100;
    let scripts = compile("");
    let before = resident_bytes();
    let realms: Vec<_> = (0..REALMS).map(|_| start(&scripts)).collect();
    let resident = resident_bytes().saturating_sub(before) / REALMS;
    realms[0].runtime().run_gc();
    let idle = realms[0].runtime().memory_usage().malloc_size;
    println!("an idle realm with the web APIs: {idle} bytes of JavaScript, {resident} bytes resident");
    assert!(idle < 300 << 10, "an idle realm takes {idle} bytes");
    assert!(resident < 400 << 10, "an idle realm takes {resident} bytes of memory");
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("this process's memory");
    let pages: usize =
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second number is of pages");
    pages * rustix::param::page_size()
}
