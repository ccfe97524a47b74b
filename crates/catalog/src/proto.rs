//! `.proto` files: the services and methods that one declares. Nothing is imported; types are not
//! looked at.

use crate::contract::{Mistake, Unreadable};

/// The largest file, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The most methods of one file.
const MAX_METHODS: usize = 2000;

/// What a `.proto` file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its package, empty if it has none.
    pub package: String,
    /// Its services, in order.
    pub services: Vec<Service>,
}

/// A gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name with the package: `shop.users.Users`.
    pub name: String,
    /// Its methods, in order.
    pub methods: Vec<Method>,
}

/// A method of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// The type that it takes.
    pub input: String,
    /// The type that it answers with.
    pub output: String,
    /// Whether the client sends many messages.
    pub client_streams: bool,
    /// Whether the service sends many messages.
    pub server_streams: bool,
    /// Whether it is marked as deprecated.
    pub deprecated: bool,
}

/// Reads a file.
///
/// # Errors
/// When it is none, with the place of the mistake; when it is too large, or declares no service.
pub fn read(text: &str) -> Result<File, Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Mistake::at("", format!("it has more than {MAX_BYTES} bytes")).into());
    }
    let parsed = protox_parse::parse("contract.proto", text).map_err(|error| {
        let place = error.span().map(|span| place(text, span.start));
        Mistake { pointer: String::new(), place, message: error.to_string() }
    })?;
    let package = parsed.package().to_owned();
    let full = |name: &str| {
        if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
    };
    let services = parsed.service.iter().map(|service| Service {
        name: full(service.name()),
        methods: service.method.iter().map(method).collect(),
    });
    let services: Vec<Service> = services.collect();
    let count: usize = services.iter().map(|service| service.methods.len()).sum();
    if count == 0 || count > MAX_METHODS {
        let message = format!("it declares {count} methods: 1 to {MAX_METHODS} are wanted");
        return Err(Mistake::at("", message).into());
    }
    Ok(File { package, services })
}

fn method(method: &prost_types::MethodDescriptorProto) -> Method {
    // What is parsed and not compiled has its options as they are written.
    let options = method.options.iter().flat_map(|options| &options.uninterpreted_option);
    let mut deprecated = options.filter(|option| {
        let name: Vec<&str> = option.name.iter().map(|part| part.name_part.as_str()).collect();
        name == ["deprecated"] && option.identifier_value() == "true"
    });
    Method {
        name: method.name().to_owned(),
        input: method.input_type().to_owned(),
        output: method.output_type().to_owned(),
        client_streams: method.client_streaming(),
        server_streams: method.server_streaming(),
        deprecated: deprecated.next().is_some(),
    }
}

/// Line and column of a byte, counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_methods_are_listed() {
        let file = read(
            "syntax = \"proto3\";\npackage shop.users;\nimport \"google/protobuf/empty.proto\";\n\
             service Users {\n  rpc Get(GetRequest) returns (User);\n  rpc Watch(stream Ask) \
             returns (stream User) { option deprecated = true; }\n}\nmessage User {}\n",
        )
        .expect("it can be read");
        assert_eq!(file.package, "shop.users");
        let service = &file.services[0];
        assert_eq!(service.name, "shop.users.Users");
        let names: Vec<&str> = service.methods.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names, ["Get", "Watch"]);
        let watch = &service.methods[1];
        assert!(watch.client_streams && watch.server_streams && watch.deprecated);
        assert!(!service.methods[0].client_streams && !service.methods[0].deprecated);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let unreadable = read("syntax = \"proto3\";\nservice Users {\n  rpc Get(;\n}\n");
        let unreadable = unreadable.expect_err("it is none");
        assert_eq!(unreadable.mistakes()[0].place, Some((3, 11)), "{unreadable}");
        let none = read("syntax = \"proto3\";\nmessage A {}\n").expect_err("no service");
        assert!(none.to_string().contains("0 methods"), "{none}");
    }
}
