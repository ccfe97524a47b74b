//! What operators say of a consumer, checked before the rules see it.

use crate::certificate;
use crate::signature::{Algorithm, Key};
use crate::state::{PublicKey, Refusal, Spec};

/// The most bytes of a label, a role or a plan's name.
const LONGEST: usize = 128;

/// `spec` with names in their one form.
pub(super) fn spec(mut spec: Spec) -> Result<Spec, Refusal> {
    if let Some(plan) = &spec.plan {
        word("plan", plan)?;
    }
    for role in &spec.roles {
        word("roles", role)?;
    }
    for name in &mut spec.certificates {
        *name = certificate::name(name).map_err(|why| invalid("certificates", why))?;
    }
    for PublicKey { id, algorithm, pem } in &spec.signature_keys {
        word("signature_keys", id)?;
        if *algorithm == Algorithm::HmacSha256 {
            let why = "a shared secret is kept in the file only: it would have to be stored";
            return Err(invalid("signature_keys", format!("`{id}`: {why}")));
        }
        Key::from_pem(*algorithm, pem)
            .map_err(|why| invalid("signature_keys", format!("`{id}`: {why}")))?;
    }
    Ok(spec)
}

/// A label of a key.
pub(super) fn label(text: &str) -> Result<Box<str>, Refusal> {
    word("label", text)?;
    Ok(text.into())
}

fn word(field: &'static str, text: &str) -> Result<(), Refusal> {
    if (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(field, format!("1 to {LONGEST} bytes without control characters")))
}

fn invalid(field: &'static str, message: String) -> Refusal {
    Refusal::Invalid { field, message }
}
