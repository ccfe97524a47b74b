//! Text into a checked expression, by recursive descent. `or` binds less than `and`, and `and` less
//! than `not`.

use regex::RegexBuilder;
use serde_json::Value;

use super::{Expr, MAX_LENGTH, Mistake, Op};

/// How deep parentheses and `not` may be nested.
const MAX_DEPTH: usize = 64;

/// How large a regular expression may become, in bytes.
const MAX_REGEX: usize = 64 * 1024;

type Result<T> = std::result::Result<T, Mistake>;

pub(super) fn parse(text: &str, sample: &Value) -> Result<Expr> {
    let mut parser = Parser { text, at: 0, depth: 0, sample };
    if text.len() > MAX_LENGTH {
        return Err(parser.mistake(0, format!("a filter is at most {MAX_LENGTH} bytes long")));
    }
    let expr = parser.or()?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.mistake(parser.at, "expected `and`, `or` or the end of the filter"));
    }
    Ok(expr)
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    depth: usize,
    sample: &'a Value,
}

/// One side of a match, before it is clear whether it selects or is a value.
enum Operand {
    /// In quotes: a value.
    Quoted(String),
    /// A bare word: its text, and how it selects.
    Bare(String, Vec<String>),
}

/// An operator, and the side that its selector stands on.
#[derive(Clone, Copy)]
enum Word {
    Equal,
    NotEqual,
    Contains,
    NotContains,
    Matches,
    NotMatches,
    In,
    NotIn,
    Empty,
    NotEmpty,
}

impl Parser<'_> {
    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.word("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.word("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        self.skip_space();
        if self.depth >= MAX_DEPTH {
            let problem = format!("a filter is nested at most {MAX_DEPTH} deep");
            return Err(self.mistake(self.at, problem));
        }
        self.depth += 1;
        let expr = if self.word("not") {
            Expr::Not(Box::new(self.not()?))
        } else if self.symbol("(") {
            let inner = self.or()?;
            self.skip_space();
            if !self.symbol(")") {
                return Err(self.mistake(self.at, "expected `)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr> {
        let left_at = self.at;
        let left = self.operand("a selector or value")?;
        self.skip_space();
        let word_at = self.at;
        let Some(word) = self.operator() else {
            let expected = "expected an operator: ==, !=, in, contains, matches, is empty, …";
            return Err(self.mistake(word_at, expected));
        };
        if let Word::In | Word::NotIn = word {
            self.skip_space();
            let right_at = self.at;
            return match self.operand("a selector")? {
                Operand::Bare(_, path) => {
                    let at = Places { selector: right_at, word: word_at, literal: left_at };
                    self.matching(path, word, left.into_text(), &at)
                }
                Operand::Quoted(_) => Err(self.mistake(right_at, "expected a selector")),
            };
        }
        let Operand::Bare(_, path) = left else {
            return Err(self.mistake(word_at, "after a value, expected `in` or `not in`"));
        };
        self.skip_space();
        let literal_at = self.at;
        let literal = match word {
            Word::Empty | Word::NotEmpty => String::new(),
            _ => self.operand("a value")?.into_text(),
        };
        let at = Places { selector: left_at, word: word_at, literal: literal_at };
        self.matching(path, word, literal, &at)
    }

    /// A match, if the selected thing is there and is something that can be matched like this.
    fn matching(
        &self,
        path: Vec<String>,
        word: Word,
        literal: String,
        at: &Places,
    ) -> Result<Expr> {
        let Ok(selected) = select(self.sample, &path) else {
            let problem = format!("there is nothing to select as `{}`", path.join("."));
            return Err(self.mistake(at.selector, problem));
        };
        let fits = match (word, selected) {
            (_, None) => true,
            (Word::Equal | Word::NotEqual, Some(value)) => !value.is_array() && !value.is_object(),
            (Word::Matches | Word::NotMatches, Some(value)) => value.is_string(),
            (_, Some(value)) => !value.is_number() && !value.is_boolean(),
        };
        if !fits {
            let problem = format!("`{}` cannot be compared like this", path.join("."));
            return Err(self.mistake(at.word, problem));
        }
        match selected {
            Some(Value::Number(_)) if literal.parse::<f64>().is_err() => {
                return Err(self.mistake(at.literal, "expected a number"));
            }
            Some(Value::Bool(_)) if literal.parse::<bool>().is_err() => {
                return Err(self.mistake(at.literal, "expected `true` or `false`"));
            }
            _ => {}
        }
        let regex = |literal: &str| {
            let regex = RegexBuilder::new(literal).size_limit(MAX_REGEX).build();
            regex.map_err(|_error| self.mistake(at.literal, "not a regular expression in bounds"))
        };
        let op = match word {
            Word::Equal => Op::Equal(literal),
            Word::NotEqual => Op::NotEqual(literal),
            Word::Contains | Word::In => Op::Contains(literal),
            Word::NotContains | Word::NotIn => Op::NotContains(literal),
            Word::Empty => Op::Empty,
            Word::NotEmpty => Op::NotEmpty,
            Word::Matches => Op::Matches(regex(&literal)?),
            Word::NotMatches => Op::NotMatches(regex(&literal)?),
        };
        Ok(Expr::Match(path, op))
    }

    fn operator(&mut self) -> Option<Word> {
        if self.symbol("==") {
            Some(Word::Equal)
        } else if self.symbol("!=") {
            Some(Word::NotEqual)
        } else if self.words(&["is", "not", "empty"]) {
            Some(Word::NotEmpty)
        } else if self.words(&["is", "empty"]) {
            Some(Word::Empty)
        } else if self.words(&["not", "in"]) {
            Some(Word::NotIn)
        } else if self.words(&["not", "contains"]) {
            Some(Word::NotContains)
        } else if self.words(&["not", "matches"]) {
            Some(Word::NotMatches)
        } else if self.word("in") {
            Some(Word::In)
        } else if self.word("contains") {
            Some(Word::Contains)
        } else {
            self.word("matches").then_some(Word::Matches)
        }
    }

    fn operand(&mut self, expected: &str) -> Result<Operand> {
        match self.rest().chars().next() {
            Some('"') => self.quoted().map(Operand::Quoted),
            Some('`') => self.raw().map(Operand::Quoted),
            _ => self.bare(expected),
        }
    }

    fn bare(&mut self, expected: &str) -> Result<Operand> {
        let start = self.at;
        let mut path = Vec::new();
        loop {
            let piece = self.take_while(|c| c.is_ascii_alphanumeric() || "_-/".contains(c));
            if piece.is_empty() {
                return Err(self.mistake(self.at, format!("expected {expected}")));
            }
            path.push(piece.to_owned());
            while self.symbol("[") {
                self.skip_space();
                match self.operand("a key in quotes")? {
                    Operand::Quoted(key) => path.push(key),
                    Operand::Bare(text, _) => {
                        let at = self.at - text.len();
                        return Err(self.mistake(at, "expected a key in quotes"));
                    }
                }
                self.skip_space();
                if !self.symbol("]") {
                    return Err(self.mistake(self.at, "expected `]`"));
                }
            }
            if !self.symbol(".") {
                return Ok(Operand::Bare(self.text[start..self.at].to_owned(), path));
            }
        }
    }

    fn raw(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let text = self.take_while(|c| c != '`').to_owned();
        if self.symbol("`") { Ok(text) } else { Err(self.mistake(start, "this string has no end")) }
    }

    fn quoted(&mut self) -> Result<String> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            text.push_str(self.take_while(|c| c != '"' && c != '\\'));
            if self.symbol("\"") {
                return Ok(text);
            }
            let escape_at = self.at;
            if !self.symbol("\\") {
                return Err(self.mistake(start, "this string has no end"));
            }
            let escaped = self.escaped();
            text.push(escaped.ok_or_else(|| self.mistake(escape_at, "unknown escape"))?);
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let kind = self.rest().chars().next()?;
        self.at += kind.len_utf8();
        let digits = match kind {
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            '"' | '\\' => return Some(kind),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let code = self.rest().get(..digits)?;
        let code = u32::from_str_radix(code, 16).ok()?;
        self.at += digits;
        char::from_u32(code)
    }

    /// Takes `word` if it stands here by itself.
    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || "_-/.[".contains(c));
        if ends {
            self.at += word.len();
        }
        ends
    }

    /// Takes all of `words` if they stand here, or none.
    fn words(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let all = words.iter().all(|word| self.word(word));
        if !all {
            self.at = start;
        }
        all
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let is_here = self.rest().starts_with(symbol);
        if is_here {
            self.at += symbol.len();
        }
        is_here
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn mistake(&self, at: usize, problem: impl Into<String>) -> Mistake {
        let before = self.text.get(..at).unwrap_or_default();
        Mistake { at: before.chars().count() + 1, problem: problem.into() }
    }
}

impl Operand {
    fn into_text(self) -> String {
        match self {
            Self::Quoted(text) | Self::Bare(text, _) => text,
        }
    }
}

/// Where the parts of a match stand, in bytes.
struct Places {
    selector: usize,
    word: usize,
    literal: usize,
}

/// What `path` selects in `sample`: a value like it, or `None` when it is in a map, where anything
/// may be.
fn select<'a>(sample: &'a Value, path: &[String]) -> std::result::Result<Option<&'a Value>, ()> {
    let Some((key, rest)) = path.split_first() else { return Ok(Some(sample)) };
    match sample {
        Value::Object(map) if map.is_empty() => Ok(None),
        Value::Object(map) => select(map.get(key).ok_or(())?, rest),
        Value::Array(elements) => select(elements.first().ok_or(())?, path),
        _ => Err(()),
    }
}
