//! Rust types for the document's schemas, by typify.

use std::iter;

use anyhow::Context as _;
use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote};
use schemars::schema::{InstanceType, RootSchema, SchemaObject};
use serde_json::{Map, Value, json};
use syn::{
    Attribute, Expr, File, Item, Lit, Meta, Path,
    visit_mut::{self, VisitMut},
};
use typify::{TypeSpace, TypeSpaceSettings};

use crate::client::document::Document;

/// Schemas whose types `datastorage-api` holds, because server and emitting services share their validation.
///
/// The short form of a submission is for requests made by hand: the client sends the full form.
const SHARED: [(&str, &str); 7] = [
    ("AuditEventShortForm", "AuditEventRequest"),
    ("AuditEventRequest", "AuditEventRequest"),
    ("AuditEventSubmission", "AuditEventRequest"),
    ("EventCategory", "EventCategory"),
    ("EventOutcome", "EventOutcome"),
    ("DatabaseErrorKind", "DatabaseErrorKind"),
    ("ProblemDetails", "ProblemDetails"),
];

/// Returns the name in `datastorage-api` of the type for `schema`, if it is there.
pub(crate) fn shared(schema: &str) -> Option<&'static str> {
    SHARED
        .iter()
        .find(|(name, _)| *name == schema)
        .map(|(_, shared)| *shared)
}

/// Emits the types.
pub(crate) fn emit(document: &Document) -> anyhow::Result<TokenStream> {
    let mut settings = TypeSpaceSettings::default();
    settings
        .with_derive("PartialEq".to_owned())
        .with_map_type("::std::collections::BTreeMap");
    for (schema, name) in SHARED {
        settings.with_replacement(schema, format!("::datastorage_api::{name}"), iter::empty());
    }
    for (format, name) in [
        ("date-time", "::jiff::Timestamp"),
        ("date", "::jiff::civil::Date"),
    ] {
        let schema = SchemaObject {
            instance_type: Some(InstanceType::String.into()),
            format: Some(format.to_owned()),
            ..SchemaObject::default()
        };
        settings.with_conversion(schema, name, iter::empty());
    }
    let definitions: Map<_, _> = document
        .schemas
        .iter()
        .map(|(name, schema)| (name.clone(), json_schema(schema)))
        .collect();
    let root: RootSchema = serde_json::from_value(json!({ "definitions": definitions }))
        .context("read the schemas")?;
    let mut types = TypeSpace::new(&settings);
    types
        .add_root_schema(root)
        .context("make types of the schemas")?;
    let mut file: File = syn::parse2(types.to_stream()).context("typify's code does not parse")?;
    file.items.retain(is_wanted);
    Tidy.visit_file_mut(&mut file);
    let mut imports: Vec<_> = SHARED
        .iter()
        .map(|(_, name)| format_ident!("{name}"))
        .collect();
    imports.sort();
    imports.dedup();
    Ok(quote! {
        pub use datastorage_api::{#(#imports),*};
        #file
    })
}

/// Turns a schema of OpenAPI 3.0.3 into one of JSON Schema, without what only the server checks.
///
/// A limit would become a type of its own with a fallible constructor, and a default would hide that a member was absent.
fn json_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => {
            let mut schema: Map<_, _> = object
                .iter()
                .filter(|(key, value)| !is_server_side(key, value))
                .map(|(key, value)| (key.clone(), json_schema(value)))
                .collect();
            if object.get("nullable") == Some(&Value::Bool(true)) {
                let kind = schema.remove("type").unwrap_or_default();
                schema.insert("type".to_owned(), json!([kind, "null"]));
            }
            schema.into()
        }
        Value::Array(items) => items.iter().map(json_schema).collect(),
        Value::String(text) => text
            .replace("#/components/schemas/", "#/definitions/")
            .into(),
        other => other.clone(),
    }
}

/// A property may have the name of a keyword, but its schema is an object.
fn is_server_side(key: &str, value: &Value) -> bool {
    let keyword = matches!(
        key,
        "nullable"
            | "default"
            | "example"
            | "minLength"
            | "maxLength"
            | "minItems"
            | "maxItems"
            | "minimum"
            | "maximum"
            | "pattern"
    );
    keyword && !value.is_object()
}

/// `impl From<&T> for T` only hides a clone.
fn is_wanted(item: &Item) -> bool {
    !matches!(item, Item::Impl(implementation) if is_clone(implementation))
}

fn is_clone(implementation: &syn::ItemImpl) -> bool {
    let Some((_, path, _)) = &implementation.trait_ else {
        return false;
    };
    let own = implementation.self_ty.to_token_stream().to_string();
    path.to_token_stream()
        .to_string()
        .replace(' ', "")
        .ends_with(&format!("From<&{own}>"))
}

/// Makes the code read as if written: no copies of the schemas in the documentation, names as the prelude has them.
struct Tidy;

impl VisitMut for Tidy {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain_mut(|attribute| {
            let Some(text) = doc_text(attribute) else {
                return true;
            };
            let text = text
                .split("<details>")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let only_names_the_type =
                text.starts_with('`') && text.ends_with('`') && !text.contains(' ');
            let lines = text
                .lines()
                .map(|line| format!(" {line}"))
                .collect::<Vec<_>>()
                .join("\n");
            *attribute = syn::parse_quote!(#[doc = #lines]);
            !only_names_the_type
        });
    }

    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        let in_prelude = path.leading_colon.is_some()
            && path
                .segments
                .first()
                .is_some_and(|first| first.ident == "std")
            && path
                .segments
                .last()
                .is_some_and(|last| PRELUDE.iter().any(|name| last.ident == name));
        if in_prelude {
            path.leading_colon = None;
            path.segments = path
                .segments
                .pop()
                .into_iter()
                .map(syn::punctuated::Pair::into_value)
                .collect();
        }
    }
}

/// Names that need no path.
const PRELUDE: [&str; 5] = ["From", "Option", "String", "TryFrom", "Vec"];

fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}
