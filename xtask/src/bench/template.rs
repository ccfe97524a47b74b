//! The configuration templates in `bench/`: plain files in each program's own language, with
//! `{{name}}` for a value and, as comments, `#[for service]`, `#[for instance]` (inside a service),
//! `#[if http]`, `#[if grpc]`, `#[if tls]`, `#[if token]`, `#[if key]`, `#[if limit]` and
//! `#[end]`. Nothing more: who reads a template shall see the
//! configuration, not a language.

use anyhow::{Context, bail, ensure};

use super::work::{Service, Work};

/// The values of one start of one program, beside those that follow from the work.
pub(crate) type Values<'a> = [(&'a str, String)];

/// Fills a template in for this work.
pub(crate) fn expand(template: &str, work: &Work, values: &Values<'_>) -> anyhow::Result<String> {
    let lines: Vec<&str> = template.lines().collect();
    let mut out = String::new();
    let scope = Scope { work, values, service: None, instance: None };
    block(&lines, scope, &mut out)?;
    Ok(out)
}

#[derive(Clone, Copy)]
struct Scope<'a> {
    work: &'a Work,
    values: &'a Values<'a>,
    service: Option<&'a Service>,
    instance: Option<(usize, &'a str)>,
}

fn block(lines: &[&str], scope: Scope<'_>, out: &mut String) -> anyhow::Result<()> {
    let mut rest = lines;
    while let Some((line, after)) = rest.split_first() {
        let Some(directive) = directive(line) else {
            scope.fill(line, out)?;
            out.push('\n');
            rest = after;
            continue;
        };
        let end = matching_end(after).with_context(|| format!("`{line}` has no `#[end]`"))?;
        let body = &after[..end];
        match directive {
            "for service" => {
                for service in &scope.work.services {
                    block(body, Scope { service: Some(service), ..scope }, out)?;
                }
            }
            "for instance" => {
                let service = scope.service.context("`for instance` outside `for service`")?;
                for (number, address) in service.instances.iter().enumerate() {
                    let instance = Some((number, address.as_str()));
                    block(body, Scope { instance, ..scope }, out)?;
                }
            }
            "if http" if !scope.work.grpc => block(body, scope, out)?,
            "if grpc" if scope.work.grpc => block(body, scope, out)?,
            "if tls" if scope.work.tls => block(body, scope, out)?,
            "if token" if scope.work.guard.token => block(body, scope, out)?,
            "if key" if scope.work.guard.key => block(body, scope, out)?,
            "if limit" if scope.work.guard.limit => block(body, scope, out)?,
            "if http" | "if grpc" | "if tls" | "if token" | "if key" | "if limit" => {}
            unknown => bail!("unknown directive `#[{unknown}]`"),
        }
        rest = &after[end + 1..];
    }
    Ok(())
}

fn directive(line: &str) -> Option<&str> {
    line.trim().strip_prefix("#[")?.strip_suffix(']')
}

fn matching_end(lines: &[&str]) -> Option<usize> {
    let mut depth = 0_usize;
    lines.iter().position(|line| match directive(line) {
        Some("end") if depth == 0 => true,
        Some("end") => {
            depth -= 1;
            false
        }
        Some(_) => {
            depth += 1;
            false
        }
        None => false,
    })
}

impl Scope<'_> {
    fn fill(self, line: &str, out: &mut String) -> anyhow::Result<()> {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").with_context(|| format!("in `{line}`"))?;
            ensure!(!name.contains('{'), "in `{line}`");
            out.push_str(before);
            out.push_str(&self.value(name).with_context(|| format!("no value `{name}`"))?);
            rest = after;
        }
        out.push_str(rest);
        Ok(())
    }

    fn value(self, name: &str) -> Option<String> {
        let of_service = match name {
            "service" => Some(self.service?.name.clone()),
            "prefix" => Some(self.service?.prefix.clone()),
            "instance" => Some(format!("i{}", self.instance?.0)),
            "address" => Some(self.instance?.1.to_owned()),
            _ => None,
        };
        let given = || self.values.iter().find(|(key, _)| *key == name);
        of_service.or_else(|| given().map(|(_, value)| value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::work::Guard;

    fn work() -> Work {
        let service = |name: &str, instances: &[&str]| Service {
            name: name.to_owned(),
            prefix: format!("/{name}/"),
            instances: instances.iter().map(|&address| address.to_owned()).collect(),
        };
        Work::http(vec![service("a", &["x:1", "x:2"]), service("b", &["y:1"])])
    }

    fn check(template: &str, expected: &str) {
        let values = [("dir", "/d".to_owned())];
        assert_eq!(expand(template, &work(), &values).unwrap(), expected);
    }

    #[test]
    fn loops_repeat_and_conditions_choose() {
        check("dir {{dir}}/x\n", "dir /d/x\n");
        check(
            "#[for service]\nup {{service}} {{prefix}}\n#[for instance]\n  {{instance}}={{address}}\n#[end]\n#[end]\n",
            "up a /a/\n  i0=x:1\n  i1=x:2\nup b /b/\n  i0=y:1\n",
        );
        check("#[if grpc]\ng\n#[end]\n#[if http]\nh\n#[end]\n", "h\n");
    }

    #[test]
    fn mistakes_in_a_template_are_said() {
        for template in ["{{nothing}}", "#[for service]\n", "#[if x]\n#[end]", "{{service}}"] {
            assert!(expand(template, &work(), &[]).is_err(), "{template}");
        }
    }

    #[test]
    fn the_committed_templates_expand_for_both_protocols() {
        let folder = super::super::root().unwrap().join("bench");
        let mut templates = vec![folder.join("backend.conf")];
        for entry in std::fs::read_dir(folder.join("peers")).unwrap() {
            templates.push(entry.unwrap().path());
        }
        assert!(templates.len() > 5);
        for path in templates {
            let template = std::fs::read_to_string(&path).unwrap();
            let asked = Guard { token: true, key: true, limit: true, ..Guard::default() };
            for (grpc, tls, guard) in [
                (false, false, Guard::default()),
                (false, true, Guard::default()),
                (true, false, Guard::default()),
                (false, false, asked),
            ] {
                let values = ["dir", "http", "tls", "http_port", "tls_port", "idle", "connections"]
                    .into_iter()
                    .chain(["interval_ms", "backend_connections", "descriptors", "number"])
                    .chain(["token_cache", "consumers"])
                    .map(|name| (name, "1".to_owned()))
                    .collect::<Vec<_>>();
                let text = expand(&template, &Work { grpc, tls, guard, ..work() }, &values);
                let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                assert!(!text.contains("#["), "{}", path.display());
            }
        }
    }
}
