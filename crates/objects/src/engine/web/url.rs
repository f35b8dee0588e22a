//! URLs by the WHATWG's standard, and what forms are encoded as.

use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::{Ctx, Exception, Function, Object, Result};
use url::{Url, form_urlencoded, quirks};

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>) -> Result<()> {
    ops.set("urlParse", Function::new(ctx.clone(), |url: String, base: Option<String>| parse(&url, base.as_deref()))?)?;
    // Its parts are mostly asked for right after a URL was made.
    let last: Rc<RefCell<Option<Url>>> = Rc::default();
    let made = Rc::clone(&last);
    let href = move |url: String| {
        let url = Url::parse(&url).ok()?;
        let href = url.as_str().to_owned();
        made.replace(Some(url));
        Some(href)
    };
    ops.set("urlHref", Function::new(ctx.clone(), href)?)?;
    ops.set("urlJoin", Function::new(ctx.clone(), |url: String, base: String| join(&url, &base))?)?;
    let part = move |href: String, index: usize| {
        let known = last.borrow().as_ref().filter(|url| url.as_str() == href).map(|url| part(url, index));
        known.or_else(|| Some(part(&Url::parse(&href).ok()?, index)))
    };
    ops.set("urlPart", Function::new(ctx.clone(), part)?)?;
    ops.set(
        "urlSet",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, href: String, part: usize, value: String| {
            set(&href, part, &value).ok_or_else(|| Exception::throw_type(&ctx, "Invalid URL string."))
        })?,
    )?;
    let form_parse = |text: String| -> Vec<String> {
        form_urlencoded::parse(text.as_bytes())
            .flat_map(|(name, value)| [name.into_owned(), value.into_owned()])
            .collect()
    };
    ops.set("formParse", Function::new(ctx.clone(), form_parse)?)?;
    let form_serialize = |flat: Vec<String>| -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        for pair in flat.chunks_exact(2) {
            out.append_pair(&pair[0], &pair[1]);
        }
        out.finish()
    };
    ops.set("formSerialize", Function::new(ctx.clone(), form_serialize)?)?;
    Ok(())
}

fn parse(url: &str, base: Option<&str>) -> Option<Vec<String>> {
    let base = match base {
        Some(base) => Some(Url::parse(base).ok()?),
        None => None,
    };
    Url::options().base_url(base.as_ref()).parse(url).ok().map(|url| parts(&url))
}

fn join(url: &str, base: &str) -> Option<String> {
    let base = Url::parse(base).ok()?;
    Url::options().base_url(Some(&base)).parse(url).ok().map(String::from)
}

/// One of [`parts`].
fn part(url: &Url, index: usize) -> String {
    let found = match index {
        1 => return quirks::origin(url),
        2 => quirks::protocol(url),
        3 => quirks::username(url),
        4 => quirks::password(url),
        5 => quirks::host(url),
        6 => quirks::hostname(url),
        7 => quirks::port(url),
        8 => quirks::pathname(url),
        9 => quirks::search(url),
        10 => quirks::hash(url),
        _ => quirks::href(url),
    };
    found.to_owned()
}

/// In the order that `url.js` names.
fn parts(url: &Url) -> Vec<String> {
    let parts = [
        quirks::href(url),
        &quirks::origin(url),
        quirks::protocol(url),
        quirks::username(url),
        quirks::password(url),
        quirks::host(url),
        quirks::hostname(url),
        quirks::port(url),
        quirks::pathname(url),
        quirks::search(url),
        quirks::hash(url),
    ];
    parts.map(str::to_owned).to_vec()
}

/// A setter that cannot be done leaves the URL as it was, as the standard says. `None`: `href` was no URL.
fn set(href: &str, part: usize, value: &str) -> Option<Vec<String>> {
    let before = Url::parse(href).ok()?;
    let mut url = before.clone();
    let done = match part {
        2 => quirks::set_protocol(&mut url, value),
        3 => quirks::set_username(&mut url, value),
        4 => quirks::set_password(&mut url, value),
        5 => quirks::set_host(&mut url, value),
        6 => quirks::set_hostname(&mut url, value),
        7 => quirks::set_port(&mut url, value),
        8 => {
            quirks::set_pathname(&mut url, value);
            Ok(())
        }
        9 => {
            quirks::set_search(&mut url, value);
            Ok(())
        }
        10 => {
            quirks::set_hash(&mut url, value);
            Ok(())
        }
        _ => Err(()),
    };
    Some(parts(if done.is_ok() { &url } else { &before }))
}
