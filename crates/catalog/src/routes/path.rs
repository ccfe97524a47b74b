//! Paths of descriptions as paths of routes.

/// What a path means beside the names of its parameters: `/users/{}`.
pub(super) fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        shape.push_str(before);
        shape.push_str(if name.starts_with('*') { "{*}" } else { "{}" });
        rest = after;
    }
    shape.push_str(rest);
    shape
}

/// The path of a route for a template of OpenAPI. Parameters that are whole segments become
/// parameters; where one is a part of a segment, the whole becomes a regular expression.
pub(super) fn of(template: &str) -> String {
    let segments: Vec<&str> = template.strip_prefix('/').unwrap_or(template).split('/').collect();
    let whole = |segment: &&str| {
        let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
        inner.is_some_and(|inner| !inner.contains(['{', '}']))
    };
    let is_simple = segments.iter().all(|segment| !segment.contains('{') || whole(segment));
    let mut path = String::from(if is_simple { "" } else { "~ ^" });
    for (index, segment) in segments.iter().enumerate() {
        path.push('/');
        if is_simple && whole(segment) {
            path.push_str(&format!("{{p{index}}}"));
        } else if is_simple {
            path.push_str(segment);
        } else {
            path.push_str(&expression(segment));
        }
    }
    if !is_simple {
        path.push('$');
    }
    path
}

/// A segment with parameters in it, as a regular expression.
fn expression(segment: &str) -> String {
    let mut expression = String::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        expression.push_str(&regex::escape(before));
        expression.push_str("[^/]+");
        rest = after;
    }
    expression.push_str(&regex::escape(rest));
    expression
}

/// A route's path below a prefix; `None` when every path is meant.
///
/// # Errors
/// When the two cannot be put together.
pub(super) fn below(prefix: &str, path: Option<&str>) -> Result<Option<String>, String> {
    let Some(path) = path else {
        return Ok((!prefix.is_empty()).then(|| rest(prefix)));
    };
    if prefix.is_empty() {
        return Ok(Some(path.to_owned()));
    }
    match path.strip_prefix('~').map(str::trim_start) {
        None if path.starts_with('/') => Ok(Some(format!("{prefix}{path}"))),
        None => Err(format!("the path `{path}` of a route does not begin with `/`")),
        Some(expression) => match expression.strip_prefix("^/") {
            Some(rest) => Ok(Some(format!("~ ^{}/{rest}", regex::escape(prefix)))),
            None => Err(format!(
                "the regular expression `{expression}` must begin with `^/` to be put below `{prefix}`"
            )),
        },
    }
}

/// Every path that begins with a prefix.
pub(super) fn rest(prefix: &str) -> String {
    format!("{prefix}/{{*rest}}")
}
