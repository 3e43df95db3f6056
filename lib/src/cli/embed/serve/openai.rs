//! The interface of OpenAI's embeddings, so that programs which know it need no other.

use super::Server;
use super::http::Response;
use crate::cli::embed::format::bytes_of;
use base64::Engine;
use serde_json::{Value, json};

/// So many texts may be asked for at once, as there.
const MOST_INPUTS: usize = 2048;

/// An error, as it looks there.
pub(super) fn failure(status: u16, message: &str, param: Option<&str>, code: &str) -> Response {
    let kind = if status < 500 { "invalid_request_error" } else { "server_error" };
    Response::json(status, &json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }))
}

/// The one model there is.
pub(super) fn models(server: &Server) -> Response {
    let names = std::iter::once(&server.model).chain(&server.aliases);
    let data: Vec<Value> =
        names.map(|name| json!({ "id": name, "object": "model", "created": 0, "owned_by": "op-dbus" })).collect();
    Response::json(200, &json!({ "object": "list", "data": data }))
}

struct Asked {
    texts: Vec<String>,
    model: String,
    is_base64: bool,
}

/// The vectors of one text or several.
pub(super) fn embeddings(server: &Server, body: &[u8]) -> Response {
    let asked = match asked(server, body) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let texts: Vec<&str> = asked.texts.iter().map(String::as_str).collect();
    let mut vectors = vec![];
    let answers = match server.answer(&texts, &mut vectors) {
        Ok(answers) => answers,
        Err(error) => return failure(500, &error.to_string(), None, "engine"),
    };
    let mut data = vec![];
    for (index, (answer, vector)) in answers.iter().zip(vectors.chunks_exact(server.dimension)).enumerate() {
        if let Err(error) = answer {
            return failure(400, &error.to_string(), Some("input"), "invalid_input");
        }
        let embedding = if asked.is_base64 {
            let mut bytes = vec![];
            bytes_of(vector, &mut bytes);
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        data.push(json!({ "object": "embedding", "index": index, "embedding": embedding }));
    }
    let tokens = match server.tokens(&texts) {
        Ok(tokens) => tokens,
        Err(error) => return failure(500, &error.to_string(), None, "engine"),
    };
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Response::json(200, &json!({ "object": "list", "data": data, "model": asked.model, "usage": usage }))
}

fn asked(server: &Server, body: &[u8]) -> Result<Asked, Response> {
    let wrong = |message: &str, param: &str| failure(400, message, Some(param), "invalid_value");
    let body: Value =
        serde_json::from_slice(body).map_err(|e| failure(400, &format!("this is no JSON: {e}"), None, "json"))?;
    let texts = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Value::Array(items) if items.iter().any(|item| item.is_number() || item.is_array()) => {
            return Err(wrong("this takes texts: the numbers of another model's tokens mean nothing to it", "input"));
        }
        _ => return Err(wrong("input is a text or a list of texts", "input")),
    };
    if texts.len() > MOST_INPUTS {
        return Err(wrong(&format!("{} texts are too many at once: {MOST_INPUTS} are the most", texts.len()), "input"));
    }
    let model = body["model"].as_str().unwrap_or(&server.model).to_owned();
    if !server.answers_to(&model) {
        let message = format!("this serves {}, and no model called {model}", server.model);
        return Err(failure(404, &message, Some("model"), "model_not_found"));
    }
    if body.get("dimensions").is_some_and(|wanted| wanted.as_u64() != Some(server.dimension as u64)) {
        return Err(wrong(&format!("vectors of this model have {} values", server.dimension), "dimensions"));
    }
    let is_base64 = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        _ => return Err(wrong("encoding_format is float or base64", "encoding_format")),
    };
    Ok(Asked { texts, model, is_base64 })
}
