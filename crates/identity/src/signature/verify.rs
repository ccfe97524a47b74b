//! Whether a request is signed as it must be (RFC 9421 §3.2).

use std::sync::Arc;

use posthouse_base::time::Timestamp;

use super::component::{Component, Form};
use super::digest::{Covered, Expected};
use super::message::{Found, Signed};
use super::replay::Mark;
use super::settings::Config;
use crate::consumers::{Shown, Signer};
use crate::credential::Credentials;

/// What was found out about a request's signatures.
#[derive(Debug)]
pub(super) enum Judged {
    /// There is none that is meant for us.
    Absent,
    /// None of those that are meant for us holds. For operators; a client is not told.
    Refused(&'static str),
    /// One holds, as far as can be told without the body.
    Holds(Holding),
}

/// A signature that holds.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) signer: Arc<Signer>,
    /// By which it is recognised should it come again.
    pub(super) mark: Mark,
    pub(super) body: Body,
}

/// What the body must be.
#[derive(Debug)]
pub(super) enum Body {
    /// Anything: nobody asks.
    Any,
    /// Nothing, since no digest of it was signed.
    Empty,
    /// This.
    Is(Expected),
}

impl Body {
    pub(super) fn fits(&self, body: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Empty => body.is_empty(),
            Self::Is(expected) => expected.fits(body),
        }
    }
}

/// Judges the signatures of `request`: the first that holds counts. What was signed before `since` may
/// have been seen already.
pub(super) fn judge(
    config: &Config,
    request: &Credentials<'_>,
    shown: &Shown,
    since: Timestamp,
) -> Judged {
    let all = match Found::of(request) {
        Found::None => return Judged::Absent,
        Found::Unreadable => return Judged::Refused("unreadable"),
        Found::All(all) => all,
    };
    let is_meant = |signed: &&Signed| match &config.tag {
        Some(tag) => signed.parameters.tag.as_ref() == Some(tag),
        None => true,
    };
    let mut refused = None;
    for signed in all.iter().filter(is_meant) {
        match hold(config, request, signed, shown, since) {
            Ok(holding) => return Judged::Holds(holding),
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        Some(why) => Judged::Refused(why),
        None if config.tag.is_some() => Judged::Absent,
        None => Judged::Refused("unreadable"),
    }
}

fn hold(
    config: &Config,
    request: &Credentials<'_>,
    signed: &Signed,
    shown: &Shown,
    since: Timestamp,
) -> Result<Holding, &'static str> {
    in_time(config, signed, request.now, since)?;
    if config.nonce && signed.parameters.nonce.is_none() {
        return Err("no_nonce");
    }
    let components = || signed.components.iter().map(|(component, _)| component);
    if !config.required.iter().all(|wanted| covers(&components, wanted)) {
        return Err("uncovered");
    }
    let id = signed.parameters.key.as_deref().ok_or("unknown_key")?;
    let signer = shown.signer(id).ok_or("unknown_key")?;
    // The key says what it signs with. The message may agree.
    let named = signed.parameters.algorithm.as_deref();
    if named.is_some_and(|named| named != signer.key.algorithm().name()) {
        return Err("algorithm");
    }
    let body = body(config, request, &components)?;
    let base = signed.base(request, &config.structures).map_err(|_unsigned| "component")?;
    if !signer.key.verifies(&base, &signed.signature) {
        return Err("signature");
    }
    let mark = Mark::of(id, signed.parameters.nonce.as_deref(), &base);
    Ok(Holding { signer: Arc::clone(signer), mark, body })
}

/// Whether a signature is neither too old nor from the future, nor from before `since`.
fn in_time(
    config: &Config,
    signed: &Signed,
    now: Timestamp,
    since: Timestamp,
) -> Result<(), &'static str> {
    let at = |seconds: u64| Timestamp::from_millis(seconds.saturating_mul(1000));
    let created = at(signed.parameters.created.ok_or("no_time")?);
    if created > now.plus(config.leeway) {
        return Err("from_future");
    }
    // It is given in whole seconds: what was made in the second of the start may be from before it.
    if now.since(created) > config.max_age || created <= since {
        return Err("expired");
    }
    match signed.parameters.expires {
        Some(expires) if at(expires) <= now => Err("expired"),
        _ => Ok(()),
    }
}

/// Whether a signature says, of the body, what must be said.
fn body<'a, I>(
    config: &Config,
    request: &Credentials<'_>,
    components: &impl Fn() -> I,
) -> Result<Body, &'static str>
where
    I: Iterator<Item = &'a Component>,
{
    let mut covered = Covered::default();
    for component in components() {
        match component {
            Component::Field { name, form } if name == "content-digest" => match form {
                Form::Member(key) => covered.members.push(key.clone()),
                Form::Plain | Form::Strict | Form::Bytes => covered.whole = true,
            },
            _ => {}
        }
    }
    if covered.any() {
        return Expected::of(request, &covered).map(Body::Is).ok_or("digest");
    }
    Ok(if config.body { Body::Empty } else { Body::Any })
}

/// Whether `wanted` is covered, by itself or by others of which it is a part.
fn covers<'a, I>(components: &impl Fn() -> I, wanted: &Component) -> bool
where
    I: Iterator<Item = &'a Component>,
{
    use Component as C;
    let has = |component: &Component| components().any(|covered| covered == component);
    if has(wanted) {
        return true;
    }
    match wanted {
        C::Scheme | C::Authority => has(&C::TargetUri),
        C::Path | C::Query => has(&C::TargetUri) || has(&C::RequestTarget),
        C::QueryParam(_) => has(&C::TargetUri) || has(&C::RequestTarget) || has(&C::Query),
        C::RequestTarget => has(&C::TargetUri) || (has(&C::Path) && has(&C::Query)),
        C::TargetUri => {
            let rest = has(&C::RequestTarget) || (has(&C::Path) && has(&C::Query));
            has(&C::Scheme) && has(&C::Authority) && rest
        }
        // Any form but that of a single member says the whole field.
        C::Field { name, form: Form::Plain } => components().any(|covered| {
            let whole = |form: &Form| !matches!(form, Form::Member(_));
            matches!(covered, C::Field { name: held, form } if held == name && whole(form))
        }),
        C::Method | C::Field { .. } => false,
    }
}
