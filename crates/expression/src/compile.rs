//! From source to nodes: parsed by the `cel` crate within our limits, then every name resolved. What
//! could only fail later and can be known now (names, functions, patterns) is a mistake here.

use std::ops::Range;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo};
use cel::common::ast::{SelectExpr, operators};
use cel::parser::{Expression, Parser};
use regex::Regex;

use crate::functions::{Function, of_name};
use crate::{Limits, Root};

/// The largest automaton that a pattern may become.
const PATTERN_SIZE: usize = 1 << 16;

/// Stack for the parser, which goes as deep as its input: what is let through fits many times.
const STACK: usize = 32 << 20;
/// The most signs that are neither letters nor digits nor in a text: each may be one level of the tree.
const MOST_SIGNS: usize = 1000;

/// What an expression is understood as.
#[derive(Debug)]
pub(crate) enum Node {
    /// A scalar.
    Literal(Literal),
    /// A root, by its number.
    Root(usize),
    /// A variable of a comprehension, by its place on the stack.
    Local(usize),
    /// A field.
    Field(Box<Node>, Box<str>),
    /// Whether there is a field.
    Has(Box<Node>, Box<str>),
    /// What is at a place or under a key.
    Index(Box<[Node; 2]>),
    /// A list.
    List(Vec<Node>),
    /// Keys and values.
    Map(Vec<(Node, Node)>),
    /// `&&`
    And(Box<[Node; 2]>),
    /// `||`
    Or(Box<[Node; 2]>),
    /// `?:`
    Choice(Box<[Node; 3]>),
    /// An operator or function of its arguments, which are evaluated first.
    Call(Function, Vec<Node>),
    /// Text that is searched for a pattern.
    Matches(Box<Node>, Box<Regex>),
    /// True unless the node is false, also when it fails.
    NotFalse(Box<Node>),
    /// Adds these to the list at a place on the stack.
    Append(usize, Vec<Node>),
    /// Goes through a list or the keys of a map.
    Loop(Box<Loop>),
}

/// A scalar that is written in the source.
#[derive(Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

/// A comprehension: its accumulator lies on the stack at `base`, its variables above.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) range: Node,
    pub(crate) base: usize,
    /// Whether there is a second variable: then the first is place or key, the second the value.
    pub(crate) pairs: bool,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Understands an expression.
pub(crate) fn compile(source: &str, roots: &[Root], limits: Limits) -> Result<Node, Mistake> {
    if source.len() > limits.source {
        let message = format!("an expression has at most {} bytes", limits.source);
        return Err(mistake_at(source, limits.source, message));
    }
    bound_nesting(source, limits.nesting)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("expression".into()).stack_size(STACK);
        let parsed = thread.spawn_scoped(scope, || parse(source, roots, limits));
        let parsed = parsed.ok().and_then(|thread| thread.join().ok());
        parsed.unwrap_or_else(|| Err(mistake_at(source, 0, "it cannot be read".into())))
    })
}

fn parse(source: &str, roots: &[Root], limits: Limits) -> Result<Node, Mistake> {
    let parser = Parser::new().max_recursion_depth(limits.nesting).error_recovery_limit(4);
    let (tree, places) = parser.parse_with_source_info(source).map_err(|errors| {
        let first = errors.errors.into_iter().next();
        first.map_or_else(
            || mistake_at(source, 0, "it cannot be read".into()),
            |error| Mistake {
                line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
                column: usize::try_from(error.pos.1).unwrap_or(1).max(1),
                message: plain(&error.msg, limits),
            },
        )
    })?;
    let mut compiler = Compiler { source, roots, places, limits, locals: Vec::new(), loops: 0 };
    compiler.node(&tree, 0)
}

/// What the parser says, without what only its makers understand.
fn plain(message: &str, limits: Limits) -> String {
    if message.contains("Recursion limit") {
        return format!("it nests deeper than {}", limits.nesting);
    }
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    message.split(" expecting {").next().unwrap_or(message).replace("'<EOF>'", "the end")
}

fn mistake_at(source: &str, offset: usize, message: String) -> Mistake {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    Mistake { line, column: before[start..].chars().count() + 1, message }
}

/// Counts what nests, leaving out what stands in text: brackets, prefixes in a row, and all signs
/// together.
fn bound_nesting(source: &str, most: u16) -> Result<(), Mistake> {
    let (mut open, mut prefixes, mut signs, mut quote) = (0_u32, 0_u32, 0, None);
    let mut bytes = source.bytes().enumerate();
    while let Some((offset, byte)) = bytes.next() {
        if let Some(mark) = quote {
            match byte {
                b'\\' => drop(bytes.next()),
                _ if byte == mark => quote = None,
                _ => {}
            }
            continue;
        }
        if byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || byte == b'_' {
            continue;
        }
        signs += 1;
        if signs > MOST_SIGNS {
            let message = format!("an expression has at most {MOST_SIGNS} signs");
            return Err(mistake_at(source, offset, message));
        }
        prefixes = if matches!(byte, b'!' | b'-') { prefixes + 1 } else { 0 };
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > u32::from(most) || prefixes > u32::from(most) {
            let message = format!("it nests deeper than {most}");
            return Err(mistake_at(source, offset, message));
        }
    }
    Ok(())
}

/// A variable of a comprehension.
struct Local {
    name: String,
    place: usize,
}

struct Compiler<'s> {
    source: &'s str,
    roots: &'s [Root],
    places: SourceInfo,
    limits: Limits,
    locals: Vec<Local>,
    loops: u16,
}

impl Compiler<'_> {
    fn node(&mut self, tree: &Expression, depth: u16) -> Result<Node, Mistake> {
        // Chains of operators and of selections nest without brackets, so they may go deeper.
        let most = self.limits.nesting.saturating_mul(8);
        if depth > most {
            return Err(self.mistake(tree, format!("it nests deeper than {most} operators")));
        }
        let deeper = depth + 1;
        Ok(match &tree.expr {
            Expr::Unspecified => return Err(self.mistake(tree, "an expression is missing".into())),
            Expr::Struct(_) => {
                return Err(self.mistake(tree, "messages cannot be made here".into()));
            }
            Expr::Literal(literal) => Node::Literal(literal.into()),
            Expr::Ident(name) => self.name(tree, name)?,
            Expr::Select(select) => self.select(tree, select, deeper)?,
            Expr::List(list) => Node::List(self.nodes(&list.elements, deeper)?),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(self.mistake(tree, "messages cannot be made here".into()));
                    };
                    entries
                        .push((self.node(&entry.key, deeper)?, self.node(&entry.value, deeper)?));
                }
                Node::Map(entries)
            }
            Expr::Comprehension(of) => self.comprehension(tree, of, deeper)?,
            Expr::Call(call) => self.call(tree, call, deeper)?,
        })
    }

    fn nodes(&mut self, trees: &[Expression], depth: u16) -> Result<Vec<Node>, Mistake> {
        trees.iter().map(|tree| self.node(tree, depth)).collect()
    }

    fn pair(&mut self, trees: &[Expression], depth: u16) -> Result<Option<[Node; 2]>, Mistake> {
        let [one, other] = trees else { return Ok(None) };
        Ok(Some([self.node(one, depth)?, self.node(other, depth)?]))
    }

    fn name(&self, tree: &Expression, name: &str) -> Result<Node, Mistake> {
        if let Some(local) = self.locals.iter().rev().find(|local| local.name == name) {
            return Ok(Node::Local(local.place));
        }
        let root = self.roots.iter().position(|root| root.name == name);
        root.map(Node::Root).ok_or_else(|| {
            let known: Vec<_> = self.roots.iter().map(|root| root.name).collect();
            self.mistake(tree, format!("`{name}` is not known here: {}", known.join(", ")))
        })
    }

    fn select(
        &mut self,
        tree: &Expression,
        select: &SelectExpr,
        depth: u16,
    ) -> Result<Node, Mistake> {
        let operand = self.node(&select.operand, depth)?;
        if let Node::Root(root) = &operand {
            let Root { name, fields } = self.roots[*root];
            if !fields.is_empty() && !fields.contains(&select.field.as_str()) {
                let field = &select.field;
                let message = format!("`{name}` has no `{field}`: {}", fields.join(", "));
                return Err(self.mistake(tree, message));
            }
        }
        let (operand, field) = (Box::new(operand), select.field.as_str().into());
        Ok(if select.test { Node::Has(operand, field) } else { Node::Field(operand, field) })
    }

    fn comprehension(
        &mut self,
        tree: &Expression,
        of: &ComprehensionExpr,
        depth: u16,
    ) -> Result<Node, Mistake> {
        let most = self.limits.comprehensions;
        let range = self.node(&of.iter_range, depth)?;
        if self.loops == most {
            return Err(self.mistake(tree, format!("more than {most} loops are nested")));
        }
        let init = self.node(&of.accu_init, depth)?;
        let base = self.locals.len();
        let outside = self.locals.len();
        let names = [Some(&of.accu_var), Some(&of.iter_var), of.iter_var2.as_ref()];
        for name in names.into_iter().flatten() {
            let place = self.locals.len();
            self.locals.push(Local { name: name.clone(), place });
        }
        self.loops += 1;
        let condition = self.node(&of.loop_cond, depth)?;
        let step = self.node(&of.loop_step, depth)?;
        self.loops -= 1;
        self.locals.truncate(outside + 1);
        let result = self.node(&of.result, depth)?;
        self.locals.truncate(outside);
        let pairs = of.iter_var2.is_some();
        Ok(Node::Loop(Box::new(Loop { range, base, pairs, init, condition, step, result })))
    }

    fn call(&mut self, tree: &Expression, call: &CallExpr, depth: u16) -> Result<Node, Mistake> {
        let args = &call.args;
        let name = call.func_name.as_str();
        match name {
            operators::LOGICAL_AND => {
                if let Some(pair) = self.pair(args, depth)? {
                    return Ok(Node::And(Box::new(pair)));
                }
            }
            operators::LOGICAL_OR => {
                if let Some(pair) = self.pair(args, depth)? {
                    return Ok(Node::Or(Box::new(pair)));
                }
            }
            operators::INDEX => {
                if let Some(pair) = self.pair(args, depth)? {
                    return Ok(Node::Index(Box::new(pair)));
                }
            }
            operators::CONDITIONAL => {
                if let [test, yes, no] = &args[..] {
                    let nodes =
                        [self.node(test, depth)?, self.node(yes, depth)?, self.node(no, depth)?];
                    return Ok(Node::Choice(Box::new(nodes)));
                }
            }
            operators::NOT_STRICTLY_FALSE => {
                if let [node] = &args[..] {
                    return Ok(Node::NotFalse(Box::new(self.node(node, depth)?)));
                }
            }
            operators::ADD => {
                if let Some(append) = self.append(args, depth)? {
                    return Ok(append);
                }
            }
            "matches" => return self.matches(tree, call, depth),
            _ => {}
        }
        let is_method = call.target.is_some();
        let count = args.len() + usize::from(is_method);
        let Some(function) = of_name(name, is_method, count) else {
            let message = format!("there is no function `{name}` of {count} arguments");
            return Err(self.mistake(tree, message));
        };
        let mut nodes = Vec::with_capacity(count);
        if let Some(target) = &call.target {
            nodes.push(self.node(target, depth)?);
        }
        nodes.append(&mut self.nodes(args, depth)?);
        Ok(Node::Call(function, nodes))
    }

    /// `accumulator + [element]`, as `map` and `filter` write it: done in place, since a copy for each
    /// element would cost the square of their number.
    fn append(&mut self, args: &[Expression], depth: u16) -> Result<Option<Node>, Mistake> {
        let [Expression { expr: Expr::Ident(name), .. }, Expression { expr: Expr::List(list), .. }] =
            args
        else {
            return Ok(None);
        };
        // Only a macro's own variable begins so.
        let found = self.locals.iter().rev().find(|local| local.name == *name);
        let Some(place) = found.filter(|_| name.starts_with('@')).map(|local| local.place) else {
            return Ok(None);
        };
        Ok(Some(Node::Append(place, self.nodes(&list.elements, depth)?)))
    }

    /// A pattern is written out, so that it is compiled once and its mistakes are found here.
    fn matches(&mut self, tree: &Expression, call: &CallExpr, depth: u16) -> Result<Node, Mistake> {
        let (text, pattern) = match (call.target.as_deref(), &call.args[..]) {
            (Some(text), [pattern]) | (None, [text, pattern]) => (text, pattern),
            _ => return Err(self.mistake(tree, "`matches` takes a text and a pattern".into())),
        };
        let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
            let message = "the pattern of `matches` is written out as text".into();
            return Err(self.mistake(pattern, message));
        };
        let built = regex::RegexBuilder::new(written.inner()).size_limit(PATTERN_SIZE).build();
        let regex = built.map_err(|error| self.mistake(pattern, error.to_string()))?;
        Ok(Node::Matches(Box::new(self.node(text, depth)?), Box::new(regex)))
    }

    fn mistake(&self, tree: &Expression, message: String) -> Mistake {
        let range: Option<Range<usize>> =
            self.places.offset_for(tree.id).map(|(start, end)| (start as usize)..(end as usize));
        // Offsets of the parser count characters.
        let characters = range.map_or(0, |range| range.start);
        let offset = self.source.char_indices().nth(characters).map_or(0, |(offset, _)| offset);
        mistake_at(self.source, offset, message)
    }
}

impl From<&LiteralValue> for Literal {
    fn from(literal: &LiteralValue) -> Self {
        match literal {
            LiteralValue::Null => Self::Null,
            LiteralValue::Boolean(value) => Self::Bool(*value.inner()),
            LiteralValue::Int(number) => Self::Int(*number.inner()),
            LiteralValue::UInt(number) => Self::Uint(*number.inner()),
            LiteralValue::Double(number) => Self::Double(*number.inner()),
            LiteralValue::String(text) => Self::Text(text.inner().into()),
            LiteralValue::Bytes(bytes) => Self::Bytes(bytes.inner().into()),
        }
    }
}
