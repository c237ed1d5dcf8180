//! The parts of the OpenAPI document that the client is made from, references resolved.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Status codes to schemas; none for a text body.
pub(crate) type Responses = BTreeMap<u16, Body>;

/// The document.
#[derive(Debug)]
pub(crate) struct Document {
    /// Operations in the order of the document's paths.
    pub(crate) operations: Vec<Operation>,
    /// Component schemas by name.
    pub(crate) schemas: Map<String, Value>,
}

/// One method of one path.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) summary: String,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) request: Option<Request>,
    pub(crate) responses: Responses,
}

/// A path or query parameter.
#[derive(Debug, Deserialize)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    #[serde(rename = "in")]
    pub(crate) place: String,
    #[serde(default)]
    pub(crate) required: bool,
    pub(crate) description: Option<String>,
    pub(crate) schema: Value,
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) required: bool,
    pub(crate) schema: Value,
}

/// What a response carries.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    /// JSON of the named component.
    Json(String),
    /// A problem document.
    Problem,
    /// Text.
    Text,
}

impl Document {
    /// Reads the YAML text of the document.
    pub(crate) fn parse(yaml: &str) -> anyhow::Result<Self> {
        let root: Value =
            serde_saphyr::from_str(yaml).context("the OpenAPI document is not YAML")?;
        let schemas = root["components"]["schemas"]
            .as_object()
            .context("the document has no components.schemas")?
            .clone();
        let mut operations = Vec::new();
        for (path, item) in root["paths"]
            .as_object()
            .context("the document has no paths")?
        {
            for (method, operation) in item
                .as_object()
                .with_context(|| format!("{path} is not an object"))?
            {
                let operation = Operation::read(&root, path, method, operation);
                operations.push(operation.with_context(|| format!("{method} {path}"))?);
            }
        }
        Ok(Self {
            operations,
            schemas,
        })
    }
}

impl Operation {
    fn read(root: &Value, path: &str, method: &str, operation: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| operation[name].as_str().map(str::to_owned);
        let mut parameters = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            parameters
                .push(Parameter::deserialize(resolve(root, parameter)?).context("a parameter")?);
        }
        let request = operation.get("requestBody").map(|body| Request {
            required: body["required"].as_bool().unwrap_or_default(),
            schema: body["content"]["application/json"]["schema"].clone(),
        });
        let mut responses = Responses::new();
        for (status, response) in operation["responses"]
            .as_object()
            .context("it has no responses")?
        {
            let status = status
                .parse()
                .with_context(|| format!("response {status} is not a status code"))?;
            responses.insert(
                status,
                Body::read(resolve(root, response)?)
                    .with_context(|| format!("response {status}"))?,
            );
        }
        Ok(Self {
            id: text("operationId").context("it has no operationId")?,
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text("summary").context("it has no summary")?,
            description: text("description"),
            parameters,
            request,
            responses,
        })
    }
}

impl Body {
    fn read(response: &Value) -> anyhow::Result<Self> {
        let content = &response["content"];
        if content.get("application/problem+json").is_some() {
            return Ok(Self::Problem);
        }
        if content.get("text/plain").is_some() {
            return Ok(Self::Text);
        }
        let schema = &content["application/json"]["schema"];
        component(schema)
            .map(|name| Self::Json(name.to_owned()))
            .context("its JSON body is not a named component")
    }
}

/// Returns the name of the component schema that `schema` refers to.
pub(crate) fn component(schema: &Value) -> Option<&str> {
    schema["$ref"]
        .as_str()?
        .strip_prefix("#/components/schemas/")
}

fn resolve<'a>(root: &'a Value, value: &'a Value) -> anyhow::Result<&'a Value> {
    let Some(reference) = value["$ref"].as_str() else {
        return Ok(value);
    };
    let pointer = reference
        .strip_prefix('#')
        .with_context(|| format!("{reference} leaves the document"))?;
    match root.pointer(pointer) {
        Some(target) => Ok(target),
        None => bail!("{reference} points at nothing"),
    }
}
