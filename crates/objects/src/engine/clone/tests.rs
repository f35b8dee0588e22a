//! Bytes that nobody encoded: read or refused, and never more than that.

use proptest::prelude::*;
use rquickjs::{Function, Object, TypedArray, Value};

use crate::engine::realm::{Realm, RealmLimits, Script, Scripts, When};
use crate::engine::web::SCRIPTS;

/// One of everything.
const SAMPLE: &str = r"
    const view = new Float32Array([1, 2, 3]).subarray(1);
    const value = { i: -5, f: 1.5, s: 'text', u: '\ud800', n: null, no: undefined, t: true, b: 12345678901234567890n, d: new Date(7),
        r: /a+/gi, m: new Map([['k', new Set([1, [2, , 3]])]]), e: new RangeError('no', { cause: 1 }), view,
        same: view.buffer, data: new DataView(view.buffer, 4, 4), o: Object('boxed'), x: new DOMException('m', 'AbortError') };
    value.self = value;
    return value;
";

const SCRIPT: Script = Script { name: "sample", text: SAMPLE, when: When::FirstUse };

/// Values nested to the limit need more stack than a test's thread has.
fn with_stack(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(16 << 20).spawn(test).expect("a thread");
    thread.join().expect("the test passes");
}

fn realm() -> Realm {
    let scripts: Vec<Script> = SCRIPTS.iter().copied().chain([SCRIPT]).collect();
    let scripts = Scripts::compile(&scripts).expect("the scripts compile");
    let limits = RealmLimits { memory_bytes: 64 << 20, stack_bytes: 8 << 20 };
    Realm::new(&scripts, limits, |_, _| Ok(())).expect("the realm starts")
}

fn encoded(realm: &Realm) -> Vec<u8> {
    let bytes = realm.with(|_, core| {
        let sample: Value<'_> = core.get::<_, Function<'_>>("load")?.call(("sample",))?;
        let encode: Function<'_> = core.get::<_, Object<'_>>("clone")?.get("encode")?;
        let bytes: Value<'_> = encode.call((sample,))?;
        Ok(crate::engine::raw::view_bytes(&bytes))
    });
    bytes.expect("the sample is encoded").expect("as bytes")
}

/// Decodes; an error is the name of what was thrown.
fn decode(realm: &Realm, bytes: &[u8]) -> Result<(), String> {
    let thrown = realm.with(|ctx, core| {
        let decode: Function<'_> = core.get::<_, Object<'_>>("clone")?.get("decode")?;
        match decode.call::<_, Value<'_>>((TypedArray::new_copy(ctx.clone(), bytes)?,)) {
            Ok(_) => Ok(None),
            Err(_) => ctx.catch().as_object().map(|error| error.get::<_, String>("name")).transpose(),
        }
    });
    match thrown.expect("errors are objects with names") {
        Some(name) => Err(name),
        None => Ok(()),
    }
}

#[test]
fn the_sample_is_read() {
    let realm = realm();
    let bytes = encoded(&realm);
    assert_eq!(decode(&realm, &bytes), Ok(()));
    assert_eq!(decode(&realm, &bytes[..bytes.len() - 1]), Err(String::from("DataCloneError")));
    let newer = [&[2], &bytes[1..]].concat();
    assert_eq!(decode(&realm, &newer), Err(String::from("DataCloneError")));
}

#[test]
fn an_array_that_claims_more_than_there_is_is_refused() {
    with_stack(claims);
}

fn claims() {
    let realm = realm();
    let claims = [&[1, super::Tag::Array as u8][..], &[0xff; 4], &[0x0f]].concat();
    assert_eq!(decode(&realm, &claims), Err(String::from("DataCloneError")));
    let deep = [&[1_u8][..], &[super::Tag::Array as u8, 1].repeat(super::DEPTH_LIMIT + 1), &[1]].concat();
    assert_eq!(decode(&realm, &deep), Err(String::from("RangeError")));
}

#[test]
fn changed_bytes_are_read_or_refused() {
    let realm = realm();
    let bytes = encoded(&realm);
    let change = (0..bytes.len(), any::<u8>());
    let changes = (prop::collection::vec(change, 1..6), 0..=bytes.len());
    proptest!(ProptestConfig::with_cases(2_000), |((changes, end) in changes)| {
        let mut changed = bytes.clone();
        for (place, byte) in changes {
            changed[place] = byte;
        }
        changed.truncate(end.max(1));
        if let Err(name) = decode(&realm, &changed) {
            prop_assert!(["DataCloneError", "RangeError", "SyntaxError"].contains(&name.as_str()), "{name}");
        }
    });
}
