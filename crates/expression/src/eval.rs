//! From nodes to a value, step by counted step.
//!
//! Errors follow CEL: `&&` and `||` are what one side decides, even when the other fails. Only running
//! out of steps is never swallowed.

use std::rc::Rc;

use crate::compile::{Literal, Loop, Node};
use crate::functions;
use crate::value::{Held, List, Map, Value};

/// Bytes that cost a step.
const BYTES_A_STEP: usize = 32;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was not done within its steps.
    #[error("it takes too many steps")]
    TooManySteps,
    /// There is no such field, key or place.
    #[error("there is no `{0}`")]
    Missing(Box<str>),
    /// An operator or function does not take these.
    #[error("`{0}` does not take {1}")]
    Types(&'static str, Box<str>),
    /// A number is too large, or divided by zero.
    #[error("a number is out of range")]
    Range,
    /// A text is not what it is to be read as.
    #[error("it cannot be read as {0}")]
    Unreadable(&'static str),
    /// A condition is neither true nor false.
    #[error("a condition is true or false")]
    NoCondition,
}

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Fuel(u32);

impl Fuel {
    /// Takes steps.
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.0.checked_sub(steps));
        self.0 = left.ok_or(Failure::TooManySteps)?;
        Ok(())
    }

    /// Takes the steps of so many bytes.
    pub(crate) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        self.spend(bytes / BYTES_A_STEP)
    }
}

/// An evaluation under way.
struct Run<'r, 'a> {
    roots: &'r [Value<'a>],
    stack: Vec<Value<'a>>,
    fuel: Fuel,
}

/// The value of a node.
pub(crate) fn evaluate<'a>(
    node: &'a Node,
    roots: &[Value<'a>],
    steps: u32,
) -> Result<Value<'a>, Failure> {
    let mut run = Run { roots, stack: Vec::new(), fuel: Fuel(steps) };
    run.node(node)
}

impl<'a> Run<'_, 'a> {
    fn node(&mut self, node: &'a Node) -> Result<Value<'a>, Failure> {
        self.fuel.spend(1)?;
        match node {
            Node::Literal(literal) => Ok(literal.value()),
            Node::Root(root) => Ok(self.roots.get(*root).cloned().unwrap_or(Value::Null)),
            Node::Local(place) => Ok(self.stack.get(*place).cloned().unwrap_or(Value::Null)),
            Node::Field(operand, name) => {
                let operand = self.node(operand)?;
                field(&operand, name)?.ok_or_else(|| Failure::Missing(name.clone()))
            }
            Node::Has(operand, name) => {
                let operand = self.node(operand)?;
                Ok(Value::Bool(field(&operand, name)?.is_some()))
            }
            Node::Index(pair) => {
                let (operand, index) = (self.node(&pair[0])?, self.node(&pair[1])?);
                functions::index(&operand, &index, &mut self.fuel)
            }
            Node::List(nodes) => self.all(nodes).map(|all| Value::List(List::Made(Rc::new(all)))),
            Node::Map(entries) => {
                let mut made = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    made.push((self.node(key)?, self.node(value)?));
                }
                Ok(Value::Map(Map::Made(Rc::new(made))))
            }
            Node::And(pair) => self.decided(pair, false),
            Node::Or(pair) => self.decided(pair, true),
            Node::Choice(nodes) => match self.node(&nodes[0])? {
                Value::Bool(true) => self.node(&nodes[1]),
                Value::Bool(false) => self.node(&nodes[2]),
                other => Err(functions::types("?:", &[&other])),
            },
            Node::Call(function, nodes) => {
                let all = self.all(nodes)?;
                functions::call(*function, all, &mut self.fuel)
            }
            Node::Matches(text, regex) => match self.node(text)? {
                Value::Text(text) => {
                    self.fuel.spend(text.len())?;
                    Ok(Value::Bool(regex.is_match(&text)))
                }
                other => Err(functions::types("matches", &[&other])),
            },
            Node::NotFalse(node) => match self.node(node) {
                Err(Failure::TooManySteps) => Err(Failure::TooManySteps),
                Ok(Value::Bool(false)) => Ok(Value::Bool(false)),
                _ => Ok(Value::Bool(true)),
            },
            Node::Append(place, nodes) => self.append(*place, nodes),
            Node::Loop(of) => self.comprehension(of),
        }
    }

    fn all(&mut self, nodes: &'a [Node]) -> Result<Vec<Value<'a>>, Failure> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    /// `&&` (decided by false) and `||` (decided by true).
    fn decided(&mut self, pair: &'a [Node; 2], by: bool) -> Result<Value<'a>, Failure> {
        let operator = if by { "||" } else { "&&" };
        let as_bool = |value: Result<Value<'a>, Failure>| match value {
            Ok(Value::Bool(value)) => Ok(value),
            Ok(other) => Err(functions::types(operator, &[&other])),
            Err(failure) => Err(failure),
        };
        let one = as_bool(self.node(&pair[0]));
        if one == Ok(by) || one == Err(Failure::TooManySteps) {
            return one.map(Value::Bool);
        }
        match (one, as_bool(self.node(&pair[1]))) {
            (_, Err(Failure::TooManySteps)) => Err(Failure::TooManySteps),
            (_, Ok(other)) if other == by => Ok(Value::Bool(by)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            _ => Ok(Value::Bool(!by)),
        }
    }

    fn append(&mut self, place: usize, nodes: &'a [Node]) -> Result<Value<'a>, Failure> {
        let mut more = self.all(nodes)?;
        let list = self.stack.get_mut(place).map(|slot| std::mem::replace(slot, Value::Null));
        match list {
            Some(Value::List(List::Made(mut list))) => {
                if Rc::strong_count(&list) > 1 {
                    self.fuel.spend(list.len())?;
                }
                Rc::make_mut(&mut list).append(&mut more);
                Ok(Value::List(List::Made(list)))
            }
            other => Err(functions::types("+", &[&other.unwrap_or(Value::Null)])),
        }
    }

    fn comprehension(&mut self, of: &'a Loop) -> Result<Value<'a>, Failure> {
        let range = self.node(&of.range)?;
        let init = self.node(&of.init)?;
        self.stack.truncate(of.base);
        self.stack.push(init);
        match range {
            Value::List(list) => {
                for (index, value) in list.iter().enumerate() {
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    let (first, second) =
                        if of.pairs { (index, Some(value)) } else { (value, None) };
                    if !self.turn(of, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                self.fuel.spend(map.len())?;
                for key in map.keys() {
                    let value = match (&key, of.pairs) {
                        (Value::Text(name), true) => map.field(name),
                        (_, true) => {
                            let whole = Value::Map(map.clone());
                            Some(functions::index(&whole, &key, &mut self.fuel)?)
                        }
                        (_, false) => None,
                    };
                    if !self.turn(of, key, value)? {
                        break;
                    }
                }
            }
            other => return Err(functions::types("a loop", &[&other])),
        }
        self.stack.truncate(of.base + 1);
        let result = self.node(&of.result);
        self.stack.truncate(of.base);
        result
    }

    /// One turn of a loop; whether there may be another.
    fn turn(
        &mut self,
        of: &'a Loop,
        first: Value<'a>,
        second: Option<Value<'a>>,
    ) -> Result<bool, Failure> {
        self.fuel.spend(1)?;
        self.stack.truncate(of.base + 1);
        self.stack.push(first);
        self.stack.extend(second);
        if let Value::Bool(false) = self.node(&of.condition)? {
            return Ok(false);
        }
        let made = self.node(&of.step)?;
        if let Some(slot) = self.stack.get_mut(of.base) {
            *slot = made;
        }
        Ok(true)
    }
}

impl Literal {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(number) => Value::Int(*number),
            Self::Uint(number) => Value::Uint(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::text(text),
            Self::Bytes(bytes) => Value::Bytes(Held::Borrowed(bytes)),
        }
    }
}

/// A field of a map, if it is there.
fn field<'a>(operand: &Value<'a>, name: &str) -> Result<Option<Value<'a>>, Failure> {
    match operand {
        Value::Map(map) => Ok(map.field(name)),
        other => Err(functions::types(".", &[other])),
    }
}
