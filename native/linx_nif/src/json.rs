//! JSON as terms: objects are maps, strings and keys binaries. No atom comes of it but `true`, `false`
//! and `nil`.

use rustler::{Encoder, Env, NifResult, Term};
use serde_json::Value;

/// The parser has bounded how deep this goes.
pub fn term<'a>(env: Env<'a>, value: &Value) -> NifResult<Term<'a>> {
    Ok(match value {
        Value::Null => rustler::types::atom::nil().encode(env),
        Value::Bool(bool) => bool.encode(env),
        Value::String(string) => string.encode(env),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.encode(env),
            (_, Some(number)) => number.encode(env),
            _ => number.as_f64().encode(env),
        },
        Value::Array(values) => values
            .iter()
            .map(|value| term(env, value))
            .collect::<NifResult<Vec<_>>>()?
            .encode(env),
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| Ok((key.encode(env), term(env, value)?)))
                .collect::<NifResult<Vec<_>>>()?;
            Term::map_from_pairs(env, &pairs)?
        }
    })
}
