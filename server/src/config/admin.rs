//! The admin section, checked: where the house is looked at and told what to do, and by whom.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use posthouse_base::config::{Path, Report};

pub(crate) use super::raw::Role;
use super::raw::{self, AdminToken};
use crate::token::Token;

/// The shortest token; shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

/// The longest name of a token.
const MAX_NAME: usize = 64;

/// Who has the one token that is written as `admin.token`.
const ONLY: &str = "admin";

/// Where the house is looked at and told what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    /// Who may ask; without any, whoever reaches the address.
    pub(crate) keys: Arc<[AdminKey]>,
}

/// A token, and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminKey {
    /// Who has it.
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    pub(crate) token: Token,
}

impl Role {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

pub(super) fn check(raw: &raw::Admin, path: &Path, report: &mut Report) -> Option<Admin> {
    let address = raw.address.parse::<SocketAddr>();
    if address.is_err() {
        let message = format!("`{}` is not an IP address with a port", raw.address);
        let help = "write it like `127.0.0.1:8400` or `[::1]:8400`";
        report.error(&path.key("address"), message).help(help);
    }
    let mut keys = Vec::new();
    if let Some(token) = &raw.token {
        check_length(token, &path.key("token"), report);
        keys.push(AdminKey { name: ONLY.into(), role: Role::Admin, token: Token::new(token) });
    }
    let mut names = BTreeSet::new();
    for (at, one) in raw.tokens.iter().enumerate() {
        let path = path.key("tokens").index(at);
        if !names.insert(&one.name) {
            let message = format!("there is another token named `{}`", one.name);
            report.error(&path.key("name"), message).help("give each person its own name");
        }
        keys.extend(check_token(one, &path, report));
    }
    let address = address.ok()?;
    if !address.ip().is_loopback() && raw.token.is_none() && raw.tokens.is_empty() {
        let message =
            format!("{address} can be reached from other machines, and there is no token");
        report.error(&path.key("token"), message).help(format!(
            "write `admin: {{ address: \"{address}\", token: \"${{env:POSTHOUSE_ADMIN_TOKEN}}\" }}`"
        ));
    }
    Some(Admin { address, keys: keys.into() })
}

fn check_token(raw: &AdminToken, path: &Path, report: &mut Report) -> Option<AdminKey> {
    if raw.name.is_empty() || raw.name.len() > MAX_NAME || raw.name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {MAX_NAME} characters that can be shown");
        report.error(&path.key("name"), message);
    }
    let token = match (&raw.token, &raw.sha256) {
        (Some(token), None) => {
            check_length(token, &path.key("token"), report);
            Token::new(token)
        }
        (None, Some(hex)) => {
            let token = Token::of_digest(hex);
            if token.is_none() {
                let message = "a SHA-256 digest has 64 hexadecimal digits";
                let help = "make it: `printf %s TOKEN | sha256sum`";
                report.error(&path.key("sha256"), message).help(help);
            }
            token?
        }
        (None, None) => {
            let help = "add `sha256` or `token`";
            report.error(path, "there is no token").help(help);
            return None;
        }
        (Some(_), Some(_)) => {
            let help = "keep `sha256` alone";
            report.error(path, "both `token` and `sha256` are given").help(help);
            return None;
        }
    };
    Some(AdminKey { name: raw.name.as_str().into(), role: raw.role, token })
}

fn check_length(token: &str, path: &Path, report: &mut Report) {
    if token.len() < MIN_TOKEN {
        let message = format!("the token has fewer than {MIN_TOKEN} characters");
        report.error(path, message).help("make one: `openssl rand -hex 32`");
    }
}
