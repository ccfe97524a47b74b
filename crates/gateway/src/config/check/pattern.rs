//! Conditions as they are written: hosts, path templates, values; and the recipes that put caught
//! parts together again.

use http::Method;
use posthouse_base::config::{Path, nearest};
use regex::bytes::{Regex, RegexBuilder};

use super::{Check, value};
use crate::config::model::{
    HostPattern, Match, PathPattern, PathRecipe, RecipePart, Segment, ValuePattern,
};
use crate::config::raw;
use crate::http::chars;
use crate::http::target::Target;
use crate::route::decoded_segment;

/// The most segments of a template: what a lookup may visit is bounded by it.
const MOST_SEGMENTS: usize = 64;
/// The memory that one compiled regular expression may take, in bytes.
const REGEX_SIZE: usize = 1 << 20;

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

impl Check<'_> {
    pub(super) fn matching(&mut self, path: &Path, raw: &raw::Match) -> Match {
        let mut headers = Vec::with_capacity(raw.headers.len());
        for (name, written) in &raw.headers {
            let path = path.key("headers").key(name);
            let value = self.value_pattern(&path, written);
            headers.extend(self.header_name(&path, name).zip(value));
        }
        let mut query = Vec::with_capacity(raw.query.len());
        for (name, written) in &raw.query {
            let path = path.key("query").key(name);
            query.extend(self.value_pattern(&path, written).map(|value| (name.clone(), value)));
        }
        let host = raw.host.as_ref().map(|host| self.host_pattern(&path.key("host"), host));
        let template = raw.path.as_ref().map(|text| self.path_pattern(&path.key("path"), text));
        Match {
            host: host.unwrap_or_default(),
            path: template.unwrap_or_default(),
            methods: self.methods(&path.key("methods"), &raw.methods),
            headers,
            query,
        }
    }

    pub(super) fn methods(&mut self, path: &Path, written: &[String]) -> Vec<Method> {
        let mut methods = Vec::with_capacity(written.len() + 1);
        for (index, name) in written.iter().enumerate() {
            let path = path.index(index);
            let capitals = name.to_ascii_uppercase();
            let Ok(method) = Method::from_bytes(name.as_bytes()) else {
                self.error(&path, format!("`{name}` is no method"));
                continue;
            };
            if METHODS.contains(&name.as_str()) {
                if !methods.contains(&method) {
                    methods.push(method);
                }
                continue;
            }
            if METHODS.contains(&capitals.as_str()) {
                self.error_with_help(
                    &path,
                    format!("methods are written in capitals, not `{name}`"),
                    format!("did you mean `{capitals}`?"),
                );
            } else if let Some(near) = nearest(&capitals, METHODS) {
                self.report
                    .warning(&path, format!("`{name}` is an unusual method"))
                    .help(format!("did you mean `{near}`?"));
            }
            methods.push(method);
        }
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        methods
    }

    fn host_pattern(&mut self, path: &Path, written: &str) -> HostPattern {
        let lower = written.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if name == "*" {
            self.error_with_help(path, "`*` is every host", "leave out `host`");
            return HostPattern::Any;
        }
        let (below, name) = match name.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, name),
        };
        let bracketed = name.starts_with('[') && value::is_authority(name) && name.ends_with(']');
        if !value::is_host(name) && (below || !bracketed) {
            let help = match name.rsplit_once(':') {
                Some((host, _)) if value::is_host(host) => {
                    format!("write `{host}`: a route holds for every port")
                }
                _ => "write `shop.example`, or `*.shop.example` for every name below it; other \
                      letters than a to z in their ASCII form (`xn--…`)"
                    .to_owned(),
            };
            self.error_with_help(path, format!("`{written}` is no host"), help);
        }
        if below { HostPattern::Below(format!(".{name}")) } else { HostPattern::Exact(name.into()) }
    }

    fn path_pattern(&mut self, path: &Path, written: &str) -> PathPattern {
        if let Some(regex) = written.strip_prefix('~') {
            return self.regex(path, regex).map_or(PathPattern::Any, PathPattern::Regex);
        }
        let Some(text) = written.strip_prefix('/') else {
            let help = match written {
                "" | "*" => "leave out `path` for every path".to_owned(),
                _ => format!("did you mean `/{written}`?"),
            };
            self.error_with_help(path, format!("`{written}` does not begin with `/`"), help);
            return PathPattern::Any;
        };
        let count = text.split('/').count();
        if count > MOST_SEGMENTS {
            let message = format!("{count} segments are more than {MOST_SEGMENTS}");
            self.error(path, message);
        }
        let mut segments = Vec::with_capacity(count.min(MOST_SEGMENTS));
        for (index, text) in text.split('/').take(MOST_SEGMENTS).enumerate() {
            let Some(segment) = self.segment(path, text) else { return PathPattern::Any };
            if matches!(segment, Segment::Rest(_)) && index + 1 < count {
                self.error(path, format!("`{text}` is the rest, so nothing can follow it"));
                return PathPattern::Any;
            }
            if let Some(name) = caught_name(&segment)
                && segments.iter().filter_map(caught_name).any(|known| known == name)
            {
                self.error(path, format!("`{name}` is caught twice"));
            }
            segments.push(segment);
        }
        PathPattern::Template(segments)
    }

    fn segment(&mut self, path: &Path, text: &str) -> Option<Segment> {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        if let Some(inner) = inner {
            let name = inner.strip_prefix('*').unwrap_or(inner);
            if !is_parameter_name(name) {
                self.error_with_help(
                    path,
                    format!("`{text}` has no proper name"),
                    "names are letters, digits and `_`, like `{id}` or `{*rest}`",
                );
                return None;
            }
            let rest = inner.starts_with('*');
            let name = name.to_owned();
            return Some(if rest { Segment::Rest(name) } else { Segment::Parameter(name) });
        }
        if text.contains(['{', '}']) {
            self.error_with_help(
                path,
                format!("`{text}` is partly a parameter"),
                "a parameter is a whole segment: `/{name}/`; for less, use `~ ` and a regular \
                 expression",
            );
            return None;
        }
        if text == "*" || text == "**" {
            self.report
                .warning(path, format!("`{text}` is taken as it stands"))
                .help("write `{name}` for any segment, `{*name}` for the rest");
        }
        self.literal(path, text).then(|| Segment::Literal(text.to_owned()))
    }

    /// Whether a request that has this segment could get as far as the routes.
    fn literal(&mut self, path: &Path, text: &str) -> bool {
        if text.contains(['?', '#']) {
            self.error_with_help(
                path,
                format!("`{text}` goes beyond the path"),
                "conditions on the query go under `query`",
            );
            return false;
        }
        let sound =
            text.bytes().all(|byte| !byte.is_ascii() || (byte.is_ascii_graphic() && byte != b'\\'))
                && Target::new(b"", ascii_path(text).as_bytes()).is_ok();
        if !sound {
            self.error_with_help(
                path,
                format!("no call can have the segment `{text}`"),
                "spaces and the like are written `%20`; `.`, `..`, `\\` and broken escapes are \
                 refused before routing",
            );
        }
        sound
    }

    fn value_pattern(&mut self, path: &Path, written: &str) -> Option<ValuePattern> {
        if let Some(negated) = written.strip_prefix('!') {
            let negated = negated.trim_start();
            let any = negated.is_empty() || negated == "*";
            let pattern = if any {
                ValuePattern::Present
            } else if negated.starts_with('!') {
                self.error_with_help(path, format!("`{written}` says no twice"), "write one `!`");
                return None;
            } else {
                self.value_pattern(path, negated)?
            };
            return Some(ValuePattern::Not(Box::new(pattern)));
        }
        if written == "*" {
            return Some(ValuePattern::Present);
        }
        match written.strip_prefix('~') {
            Some(regex) => self.regex(path, regex).map(ValuePattern::Regex),
            None => Some(ValuePattern::Exact(written.to_owned())),
        }
    }

    fn regex(&mut self, path: &Path, written: &str) -> Option<Regex> {
        let written = written.trim();
        match RegexBuilder::new(written).size_limit(REGEX_SIZE).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                self.error(path, format!("`{written}` is no regular expression: {reason}"));
                None
            }
        }
    }

    /// A path with `{name}` for what the template of `matching` caught.
    pub(super) fn recipe(
        &mut self,
        path: &Path,
        written: &str,
        matching: &PathPattern,
    ) -> Option<PathRecipe> {
        if !written.starts_with('/') {
            self.error(path, format!("`{written}` does not begin with `/`"));
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some((text, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                self.error(path, "`{` has no `}`");
                return None;
            };
            // Who writes `{*rest}` in the match writes it here too.
            let name = name.strip_prefix('*').unwrap_or(name);
            self.known_to(path, name, matching);
            if !text.is_empty() {
                parts.push(RecipePart::Text(text.to_owned()));
            }
            parts.push(RecipePart::Caught(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(RecipePart::Text(rest.to_owned()));
        }
        self.recipe_text(path, &parts).then_some(PathRecipe(parts))
    }

    fn known_to(&mut self, path: &Path, name: &str, matching: &PathPattern) {
        let PathPattern::Template(segments) = matching else {
            let message = format!("`{{{name}}}` stands for nothing: the match has no template");
            return self.error(path, message);
        };
        let names = || segments.iter().filter_map(caught_name);
        if !names().any(|known| known == name) {
            self.report
                .error(path, format!("`{{{name}}}` is not caught by the match"))
                .suggest(name, names());
        }
    }

    fn recipe_text(&mut self, path: &Path, parts: &[RecipePart]) -> bool {
        let filled: String = parts
            .iter()
            .map(|part| match part {
                RecipePart::Text(text) => text.as_str(),
                RecipePart::Caught(_) => "x",
            })
            .collect();
        let sound = !filled.contains('?') && Target::new(b"", filled.as_bytes()).is_ok();
        if !sound {
            self.error_with_help(
                path,
                "this makes no proper path",
                "visible ASCII without `?`, `#`, dot segments and broken escapes; the query of \
                 the call is kept",
            );
        }
        sound
    }

    /// A prefix to strip, without a trailing slash.
    pub(super) fn prefix(
        &mut self,
        path: &Path,
        written: &str,
        matching: &PathPattern,
    ) -> Option<String> {
        let prefix = written.strip_suffix('/').unwrap_or(written);
        let Some(inner) = prefix.strip_prefix('/') else {
            self.error_with_help(
                path,
                format!("`{written}` is no prefix"),
                "write whole segments with a leading slash, like `/api/v1`",
            );
            return None;
        };
        if inner.contains(['{', '}']) {
            self.error_with_help(
                path,
                "a prefix is plain text",
                "to leave out what was caught, write `path` with the parts to keep",
            );
            return None;
        }
        if !inner.split('/').all(|text| self.literal(path, text)) {
            return None;
        }
        if let PathPattern::Template(segments) = matching
            && !can_begin_with(segments, inner)
        {
            let message = format!("no path of this route begins with `{prefix}`");
            self.report.warning(path, message);
        }
        Some(prefix.to_owned())
    }
}

/// A segment that stands in a path as clients write it: other letters than ASCII are escaped.
fn ascii_path(segment: &str) -> String {
    let escaped = segment.bytes().map(|byte| match byte {
        byte if byte.is_ascii() && chars::is_path(&[byte]) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    std::iter::once(String::from("/")).chain(escaped).collect()
}

fn is_parameter_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a segment catches.
pub(super) fn caught_name(segment: &Segment) -> Option<&str> {
    match segment {
        Segment::Literal(_) => None,
        Segment::Parameter(name) | Segment::Rest(name) => Some(name),
    }
}

/// Whether some path of this template begins with these segments.
fn can_begin_with(segments: &[Segment], prefix: &str) -> bool {
    let mut segments = segments.iter();
    prefix.split('/').all(|wanted| match segments.as_slice().first() {
        Some(Segment::Rest(_)) => true,
        Some(Segment::Parameter(_)) => segments.next().is_some(),
        Some(Segment::Literal(text)) => {
            segments.next();
            decoded_segment(text.as_bytes()) == decoded_segment(wanted.as_bytes())
        }
        None => false,
    })
}
