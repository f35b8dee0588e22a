//! Ids of objects: 16 bytes that name, 16 that show which namespace made them.

use super::{op, type_error};
use crate::engine::shared::Shared;
use crate::wire::ObjectId;
use hmac::{Hmac, Mac};
use rquickjs::object::Property;
use rquickjs::{Ctx, Object, Result, Undefined, Value};
use sha2::Sha256;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

const HALF: usize = 16;

/// Names and ids whose other form is remembered.
const MOST_KNOWN: usize = 256;
const LONGEST_KNOWN: usize = 256;

/// Code asks for the same few objects again and again, and what an id takes is computed for each of them once.
#[derive(Default)]
pub(crate) struct Known {
    named: RefCell<HashMap<(u16, String), String>>,
    /// `None`: it is no id, or another namespace's.
    checked: RefCell<HashMap<(u16, String), Option<ObjectId>>>,
}

fn remembered<V: Clone>(
    known: &RefCell<HashMap<(u16, String), V>>,
    key: (u16, String),
    find: impl FnOnce(&(u16, String)) -> V,
) -> V {
    let mut known = known.borrow_mut();
    if known.len() >= MOST_KNOWN && !known.contains_key(&key) {
        known.clear();
    }
    known.entry(key).or_insert_with_key(find).clone()
}

impl Known {
    fn named(&self, key: &[u8; 32], namespace: u16, name: String) -> String {
        let make = |name: &str| hex::encode(from_name(key, name).0);
        if name.len() > LONGEST_KNOWN {
            return make(&name);
        }
        remembered(&self.named, (namespace, name), |(_, name)| make(name))
    }

    /// `None`: it is no id, or another namespace's.
    pub(super) fn checked(&self, key: &[u8; 32], namespace: u16, text: String) -> Option<ObjectId> {
        if text.len() != 4 * HALF {
            return None;
        }
        remembered(&self.checked, (namespace, text), |(_, text)| from_text(key, text))
    }
}

fn mac(key: &[u8; 32], data: &[u8]) -> [u8; HALF] {
    // A key of any length will do for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; HALF] };
    mac.update(data);
    let mut half = [0; HALF];
    half.copy_from_slice(&mac.finalize().into_bytes()[..HALF]);
    half
}

fn sealed(key: &[u8; 32], base: [u8; HALF]) -> ObjectId {
    let mut id = [0; 32];
    id[..HALF].copy_from_slice(&base);
    id[HALF..].copy_from_slice(&mac(key, &base));
    ObjectId(id)
}

/// The id that a name has in the namespace of this key.
pub fn from_name(key: &[u8; 32], name: &str) -> ObjectId {
    sealed(key, mac(key, name.as_bytes()))
}

/// `None`: it is no id, or another namespace's.
fn from_text(key: &[u8; 32], text: &str) -> Option<ObjectId> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    let (base, seal) = bytes.split_first_chunk::<HALF>()?;
    subtle_equal(seal, &mac(key, base)).then_some(ObjectId(bytes))
}

/// In a time that does not tell how much of the seal is right.
fn subtle_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

fn key<'a>(ctx: &Ctx<'_>, shared: &'a Shared, namespace: u16) -> Result<&'a [u8; 32]> {
    let found = shared.process.namespaces.get(usize::from(namespace));
    found.map(|namespace| &namespace.key).ok_or_else(|| type_error(ctx, "there is no such namespace"))
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "idFromName", |shared, ctx, namespace: u16, name: String| {
        let key = key(&ctx, shared, namespace)?;
        Ok(shared.known_ids.named(key, namespace, name))
    });
    op!(ctx, ops, owner, "idNew", |shared, ctx, namespace: u16| {
        let mut base = [0; HALF];
        shared.process.surroundings.fill_random(&mut base);
        Ok(hex::encode(sealed(key(&ctx, shared, namespace)?, base).0))
    });
    // Properties that code reads and does not write. Every id and stub gets them anew, and JavaScript's own way is slow.
    op!(ctx, ops, owner, "ownOfId", |_shared, _ctx, id: Object<'js>, name: Value<'js>| {
        id.prop("jurisdiction", Property::from(Undefined).enumerable().configurable())?;
        if !name.is_undefined() {
            id.prop("name", Property::from(name).enumerable().configurable())?;
        }
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "ownOfStub", |_shared, _ctx, stub: Object<'js>, name: Value<'js>, id: Value<'js>| {
        stub.prop("name", Property::from(name).enumerable().configurable())?;
        stub.prop("id", Property::from(id).enumerable().configurable())
    });
    op!(ctx, ops, owner, "idCheck", |shared, ctx, namespace: u16, text: String| {
        Ok(shared.known_ids.checked(key(&ctx, shared, namespace)?, namespace, text).is_some())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_namespaces_alone() {
        let (one, other) = ([1; 32], [2; 32]);
        let id = from_name(&one, "room");
        assert_eq!(id, from_name(&one, "room"));
        assert_ne!(id, from_name(&one, "rooms"));
        let text = hex::encode(id.0);
        assert_eq!(from_text(&one, &text), Some(id));
        assert_eq!(from_text(&other, &text), None);
        for at in [0, 31, 63] {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(from_text(&one, std::str::from_utf8(&changed).unwrap()), None);
        }
        assert_eq!(from_text(&one, "short"), None);
    }
}
