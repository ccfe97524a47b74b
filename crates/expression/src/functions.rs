//! Operators and functions of values that are there. What takes longer for longer values pays for it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use cel::common::ast::operators;

use crate::eval::{Failure, Fuel};
use crate::value::{Held, List, Map, Value};

/// Characters of a missing key that a message shows.
const LONGEST_SHOWN: usize = 64;

/// An operator or a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Not,
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Split,
    Type,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBool,
    ToBytes,
    InNet,
}

/// The function of this name, for so many arguments, the one before the dot included.
pub(crate) fn of_name(name: &str, is_method: bool, count: usize) -> Option<Function> {
    let (function, arguments, either) = match name {
        operators::LOGICAL_NOT => (Function::Not, 1, false),
        operators::NEGATE => (Function::Negate, 1, false),
        operators::ADD => (Function::Add, 2, false),
        operators::SUBSTRACT => (Function::Subtract, 2, false),
        operators::MULTIPLY => (Function::Multiply, 2, false),
        operators::DIVIDE => (Function::Divide, 2, false),
        operators::MODULO => (Function::Remainder, 2, false),
        operators::EQUALS => (Function::Equal, 2, false),
        operators::NOT_EQUALS => (Function::Unequal, 2, false),
        operators::LESS => (Function::Less, 2, false),
        operators::LESS_EQUALS => (Function::LessOrEqual, 2, false),
        operators::GREATER => (Function::Greater, 2, false),
        operators::GREATER_EQUALS => (Function::GreaterOrEqual, 2, false),
        operators::IN => (Function::In, 2, false),
        "size" => (Function::Size, 1, true),
        "type" => (Function::Type, 1, false),
        "int" => (Function::ToInt, 1, false),
        "uint" => (Function::ToUint, 1, false),
        "double" => (Function::ToDouble, 1, false),
        "string" => (Function::ToText, 1, false),
        "bool" => (Function::ToBool, 1, false),
        "bytes" => (Function::ToBytes, 1, false),
        _ => {
            let (function, arguments) = match name {
                "contains" => (Function::Contains, 2),
                "startsWith" => (Function::StartsWith, 2),
                "endsWith" => (Function::EndsWith, 2),
                "lowerAscii" => (Function::LowerAscii, 1),
                "upperAscii" => (Function::UpperAscii, 1),
                "split" => (Function::Split, 2),
                "inNet" => (Function::InNet, 2),
                _ => return None,
            };
            return (is_method && arguments == count).then_some(function);
        }
    };
    (arguments == count && (either || !is_method)).then_some(function)
}

/// That these types do not fit.
pub(crate) fn types(name: &'static str, values: &[&Value<'_>]) -> Failure {
    let names: Vec<_> = values.iter().map(|value| value.type_name()).collect();
    Failure::Types(name, names.join(" and ").into())
}

/// Calls a function.
pub(crate) fn call<'a>(
    function: Function,
    arguments: Vec<Value<'a>>,
    fuel: &mut Fuel,
) -> Result<Value<'a>, Failure> {
    let mut arguments = arguments.into_iter();
    match (arguments.next(), arguments.next()) {
        (Some(one), Some(other)) => binary(function, one, other, fuel),
        (Some(one), None) => unary(function, one, fuel),
        _ => Err(Failure::Types("a function", "nothing".into())),
    }
}

fn unary<'a>(function: Function, one: Value<'a>, fuel: &mut Fuel) -> Result<Value<'a>, Failure> {
    use Function as F;
    match &one {
        Value::Text(text) => fuel.spend_bytes(text.len())?,
        Value::Bytes(bytes) => fuel.spend_bytes(bytes.len())?,
        _ => {}
    }
    Ok(match (function, one) {
        (F::Not, Value::Bool(value)) => Value::Bool(!value),
        (F::Negate, Value::Int(number)) => Value::Int(number.checked_neg().ok_or(Failure::Range)?),
        (F::Negate, Value::Double(number)) => Value::Double(-number),
        (F::Size, Value::Text(text)) => {
            fuel.spend_bytes(text.len())?;
            size(text.chars().count())
        }
        (F::Size, Value::Bytes(bytes)) => size(bytes.len()),
        (F::Size, Value::List(list)) => size(list.len()),
        (F::Size, Value::Map(map)) => size(map.len()),
        (F::LowerAscii, Value::Text(text)) => Value::made(text.to_ascii_lowercase()),
        (F::UpperAscii, Value::Text(text)) => Value::made(text.to_ascii_uppercase()),
        (F::Type, value) => Value::text(value.type_name()),
        (F::ToInt, value) => to_int(&value)?,
        (F::ToUint, value) => to_uint(&value)?,
        (F::ToDouble, value) => to_double(&value)?,
        (F::ToText, value) => to_text(value)?,
        (F::ToBool, value) => match value {
            Value::Bool(_) => value,
            Value::Text(text) => Value::Bool(read(&text, "bool")?),
            other => return Err(types("bool", &[&other])),
        },
        (F::ToBytes, Value::Text(text)) => Value::Bytes(match text {
            Held::Borrowed(text) => Held::Borrowed(text.as_bytes()),
            Held::Made(text) => Held::Made(text.as_bytes().into()),
        }),
        (function, value) => return Err(types(name(function), &[&value])),
    })
}

fn binary<'a>(
    function: Function,
    one: Value<'a>,
    other: Value<'a>,
    fuel: &mut Fuel,
) -> Result<Value<'a>, Failure> {
    use Function as F;
    match function {
        F::Equal => return Ok(Value::Bool(equal(&one, &other, fuel)?)),
        F::Unequal => return Ok(Value::Bool(!equal(&one, &other, fuel)?)),
        F::In => return is_in(&one, &other, fuel).map(Value::Bool),
        F::Less | F::LessOrEqual | F::Greater | F::GreaterOrEqual => {
            return compare(function, &one, &other, fuel);
        }
        F::Add => return add(one, other, fuel),
        _ => {}
    }
    if let (Value::Text(one), Value::Text(other)) = (&one, &other) {
        fuel.spend_bytes(one.len() + other.len())?;
        let (one, other) = (&**one, &**other);
        return Ok(match function {
            F::Contains => Value::Bool(one.contains(other)),
            F::StartsWith => Value::Bool(one.starts_with(other)),
            F::EndsWith => Value::Bool(one.ends_with(other)),
            F::InNet => Value::Bool(in_net(one, other)?),
            F::Split => {
                fuel.spend(one.len())?;
                let parts = one.split(other).map(Value::made);
                Value::List(List::Made(Rc::new(parts.collect())))
            }
            _ => return Err(Failure::Types(name(function), "string and string".into())),
        });
    }
    arithmetic(function, &one, &other)
}

fn arithmetic<'a>(
    function: Function,
    one: &Value<'a>,
    other: &Value<'a>,
) -> Result<Value<'a>, Failure> {
    use Function as F;
    let checked = match (one, other) {
        (Value::Int(one), Value::Int(other)) => match function {
            F::Add => one.checked_add(*other),
            F::Subtract => one.checked_sub(*other),
            F::Multiply => one.checked_mul(*other),
            F::Divide => one.checked_div(*other),
            F::Remainder => one.checked_rem(*other),
            _ => return Err(Failure::Types(name(function), "int and int".into())),
        }
        .map(Value::Int),
        (Value::Uint(one), Value::Uint(other)) => match function {
            F::Add => one.checked_add(*other),
            F::Subtract => one.checked_sub(*other),
            F::Multiply => one.checked_mul(*other),
            F::Divide => one.checked_div(*other),
            F::Remainder => one.checked_rem(*other),
            _ => return Err(Failure::Types(name(function), "uint and uint".into())),
        }
        .map(Value::Uint),
        (Value::Double(one), Value::Double(other)) => Some(Value::Double(match function {
            F::Add => one + other,
            F::Subtract => one - other,
            F::Multiply => one * other,
            F::Divide => one / other,
            _ => return Err(Failure::Types(name(function), "double and double".into())),
        })),
        _ => return Err(types(name(function), &[one, other])),
    };
    checked.ok_or(Failure::Range)
}

fn add<'a>(one: Value<'a>, other: Value<'a>, fuel: &mut Fuel) -> Result<Value<'a>, Failure> {
    Ok(match (one, other) {
        (Value::Text(one), Value::Text(other)) => {
            fuel.spend_bytes(one.len() + other.len())?;
            Value::made([&*one, &*other].concat())
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            fuel.spend_bytes(one.len() + other.len())?;
            Value::Bytes(Held::Made([&*one, &*other].concat().into()))
        }
        (Value::List(one), Value::List(other)) => {
            fuel.spend(one.len() + other.len())?;
            Value::List(List::Made(Rc::new(one.iter().chain(other.iter()).collect())))
        }
        (one, other) => return arithmetic(Function::Add, &one, &other),
    })
}

fn compare<'a>(
    function: Function,
    one: &Value<'a>,
    other: &Value<'a>,
    fuel: &mut Fuel,
) -> Result<Value<'a>, Failure> {
    if let (Value::Text(one), Value::Text(other)) = (one, other) {
        fuel.spend_bytes(one.len().min(other.len()))?;
    }
    let is_number =
        |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    let Some(order) = one.order(other) else {
        // Not a number: of no order with any.
        if is_number(one) && is_number(other) {
            return Ok(Value::Bool(false));
        }
        return Err(types(name(function), &[one, other]));
    };
    Ok(Value::Bool(match function {
        Function::Less => order == Ordering::Less,
        Function::LessOrEqual => order != Ordering::Greater,
        Function::Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

/// Whether two values are the same. Values of different kinds differ.
pub(crate) fn equal(one: &Value<'_>, other: &Value<'_>, fuel: &mut Fuel) -> Result<bool, Failure> {
    fuel.spend(1)?;
    Ok(match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::List(one), Value::List(other)) => {
            if one.len() != other.len() {
                return Ok(false);
            }
            for (one, other) in one.iter().zip(other.iter()) {
                if !equal(&one, &other, fuel)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(one), Value::Map(other)) => {
            if one.len() != other.len() {
                return Ok(false);
            }
            let whole = Value::Map(other.clone());
            for key in one.keys() {
                let mine = index(&Value::Map(one.clone()), &key, fuel)?;
                match index(&whole, &key, fuel) {
                    Ok(theirs) if equal(&mine, &theirs, fuel)? => {}
                    Ok(_) | Err(Failure::Missing(_)) => return Ok(false),
                    Err(failure) => return Err(failure),
                }
            }
            true
        }
        (Value::Text(one), Value::Text(other)) => {
            fuel.spend_bytes(one.len().min(other.len()))?;
            **one == **other
        }
        (one, other) => one.order(other) == Some(Ordering::Equal),
    })
}

fn is_in(one: &Value<'_>, other: &Value<'_>, fuel: &mut Fuel) -> Result<bool, Failure> {
    match other {
        Value::List(list) => {
            for value in list.iter() {
                if equal(one, &value, fuel)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(_) => match index(other, one, fuel) {
            Ok(_) => Ok(true),
            Err(Failure::Missing(_)) => Ok(false),
            Err(failure) => Err(failure),
        },
        _ => Err(types("in", &[one, other])),
    }
}

/// What is at a place of a list or under a key of a map.
pub(crate) fn index<'a>(
    operand: &Value<'a>,
    at: &Value<'a>,
    fuel: &mut Fuel,
) -> Result<Value<'a>, Failure> {
    let missing = || {
        let key = at.to_key().unwrap_or(Cow::Borrowed("key"));
        Failure::Missing(key.chars().take(LONGEST_SHOWN).collect())
    };
    match (operand, at) {
        (Value::List(list), Value::Int(_) | Value::Uint(_)) => {
            let place = match at {
                Value::Int(place) => usize::try_from(*place).ok(),
                Value::Uint(place) => usize::try_from(*place).ok(),
                _ => None,
            };
            place.and_then(|place| list.get(place)).ok_or_else(missing)
        }
        (Value::Map(Map::Made(entries)), _) => {
            for (key, value) in entries.iter() {
                if equal(key, at, fuel)? {
                    return Ok(value.clone());
                }
            }
            Err(missing())
        }
        (Value::Map(map), Value::Text(name)) => map.field(name).ok_or_else(missing),
        (Value::Map(_), _) => Err(missing()),
        _ => Err(types("[]", &[operand, at])),
    }
}

fn size<'a>(count: usize) -> Value<'a> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn read<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Unreadable(what))
}

#[expect(clippy::cast_possible_truncation, reason = "it was compared with the bounds before")]
#[expect(clippy::cast_precision_loss, reason = "the bounds are powers of two, or stricter")]
fn to_int<'a>(value: &Value<'a>) -> Result<Value<'a>, Failure> {
    Ok(Value::Int(match value {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).map_err(|_| Failure::Range)?,
        Value::Double(number) if *number > i64::MIN as f64 && *number < i64::MAX as f64 => {
            *number as i64
        }
        Value::Double(_) => return Err(Failure::Range),
        Value::Text(text) => read(text, "int")?,
        other => return Err(types("int", &[other])),
    }))
}

fn to_uint<'a>(value: &Value<'a>) -> Result<Value<'a>, Failure> {
    if let Value::Text(text) = value {
        return Ok(Value::Uint(read(text, "uint")?));
    }
    if let Value::Uint(number) = value {
        return Ok(Value::Uint(*number));
    }
    match to_int(value)? {
        Value::Int(number) => u64::try_from(number).map(Value::Uint).map_err(|_| Failure::Range),
        other => Err(types("uint", &[&other])),
    }
}

#[expect(clippy::cast_precision_loss, reason = "what CEL says of `double()`")]
fn to_double<'a>(value: &Value<'a>) -> Result<Value<'a>, Failure> {
    Ok(Value::Double(match value {
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::Double(number) => *number,
        Value::Text(text) => read(text, "double")?,
        other => return Err(types("double", &[other])),
    }))
}

fn to_text(value: Value<'_>) -> Result<Value<'_>, Failure> {
    if let Value::Bytes(bytes) = &value {
        let text = std::str::from_utf8(bytes).map_err(|_| Failure::Unreadable("string"))?;
        return Ok(Value::made(text));
    }
    if let Value::Text(_) = value {
        return Ok(value);
    }
    let text = value.to_key().map(|text| text.into_owned());
    text.map(Value::made).ok_or_else(|| types("string", &[&value]))
}

/// Whether an address lies in a net, `10.0.0.0/8`, or is this address.
fn in_net(address: &str, net: &str) -> Result<bool, Failure> {
    let address: IpAddr = read(address, "an address")?;
    let (base, length) = match net.split_once('/') {
        Some((base, length)) => (read::<IpAddr>(base, "a net")?, Some(read(length, "a net")?)),
        None => (read::<IpAddr>(net, "a net")?, None),
    };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32_u32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (((one, width), (other, other_width)), length) =
        ((bits(address.to_canonical()), bits(base)), length);
    let length = length.unwrap_or(other_width);
    if length > other_width {
        return Err(Failure::Unreadable("a net"));
    }
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Ok(width == other_width && one & mask == other & mask)
}

/// The name that messages call it by.
const fn name(function: Function) -> &'static str {
    match function {
        Function::Not => "!",
        Function::Negate | Function::Subtract => "-",
        Function::Add => "+",
        Function::Multiply => "*",
        Function::Divide => "/",
        Function::Remainder => "%",
        Function::Equal => "==",
        Function::Unequal => "!=",
        Function::Less => "<",
        Function::LessOrEqual => "<=",
        Function::Greater => ">",
        Function::GreaterOrEqual => ">=",
        Function::In => "in",
        Function::Size => "size",
        Function::Contains => "contains",
        Function::StartsWith => "startsWith",
        Function::EndsWith => "endsWith",
        Function::LowerAscii => "lowerAscii",
        Function::UpperAscii => "upperAscii",
        Function::Split => "split",
        Function::Type => "type",
        Function::ToInt => "int",
        Function::ToUint => "uint",
        Function::ToDouble => "double",
        Function::ToText => "string",
        Function::ToBool => "bool",
        Function::ToBytes => "bytes",
        Function::InNet => "inNet",
    }
}
