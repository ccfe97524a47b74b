//! Conditions in the Common Expression Language (CEL), compiled once and evaluated within hard bounds.
//!
//! The grammar and its macros are those of the `cel` crate; the evaluator is ours, because an
//! expression is evaluated on threads that carry everybody's calls: each step and each byte that is
//! made costs [`Limits::steps`], so that no expression can go on for long or grow without end, whatever
//! its input. In reading order: `compile` (syntax to nodes, names resolved), [`value`] (what an
//! expression sees), `eval` (nodes to a value), `functions`.
//!
//! What holds: names that are not declared, unknown functions and bad regular expressions are mistakes
//! at compile time, with their place; an evaluation ends within its steps; it reads no clock and does
//! no I/O; what failed is an error and never `true`.

mod compile;
mod eval;
mod functions;
#[cfg(test)]
mod tests;
pub mod value;

pub use compile::Mistake;
pub use eval::Failure;
pub use value::{Held, List, Map, Object, Value};

/// A name that expressions may use at their root, and the fields below it.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The name: `request`.
    pub name: &'static str,
    /// The fields that it has; anything if empty.
    pub fields: &'static [&'static str],
}

/// What bounds an expression. The defaults suit a condition that each call is held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of source.
    pub source: usize,
    /// How deep calls, brackets, literals and operators may nest.
    pub nesting: u16,
    /// How deep `all`, `exists`, `exists_one`, `map` and `filter` may nest.
    pub comprehensions: u16,
    /// Steps of one evaluation: about one for each node evaluated, element visited and 32 bytes made
    /// or compared.
    pub steps: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { source: 4096, nesting: 32, comprehensions: 3, steps: 20_000 }
    }
}

/// An expression that was understood.
#[derive(Debug)]
pub struct Program {
    source: Box<str>,
    node: compile::Node,
    steps: u32,
}

impl Program {
    /// Reads an expression that may use these names.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn compile(source: &str, roots: &[Root], limits: Limits) -> Result<Self, Mistake> {
        let node = compile::compile(source, roots, limits)?;
        Ok(Self { source: source.into(), node, steps: limits.steps })
    }

    /// The expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value of the expression. `roots` are in the order in which they were declared.
    ///
    /// # Errors
    /// When it has none: a missing field, types that do not fit, too many steps.
    pub fn evaluate<'a>(&'a self, roots: &[Value<'a>]) -> Result<Value<'a>, Failure> {
        eval::evaluate(&self.node, roots, self.steps)
    }

    /// The value of a condition.
    ///
    /// # Errors
    /// As [`Program::evaluate`], and when the value is neither true nor false.
    pub fn holds(&self, roots: &[Value<'_>]) -> Result<bool, Failure> {
        match eval::evaluate(&self.node, roots, self.steps)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(Failure::NoCondition),
        }
    }
}
