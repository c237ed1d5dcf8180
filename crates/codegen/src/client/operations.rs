//! One method of the client for each operation.

use anyhow::{Context as _, bail};
use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::Value;

use crate::client::{
    document::{Body, Document, Operation, Parameter, component},
    types,
};

/// Emits the methods and a struct for each operation's query.
pub(crate) fn emit(document: &Document) -> anyhow::Result<TokenStream> {
    let mut methods = TokenStream::new();
    let mut queries = TokenStream::new();
    for operation in &document.operations {
        let stage = || format!("operation {}", operation.id);
        methods.extend(method(operation).with_context(stage)?);
        queries.extend(query(operation).with_context(stage)?);
    }
    Ok(quote! {
        use hyper::Method;
        use serde::Serialize;
        use uuid::Uuid;

        use crate::{Checked, Client, Error, Written, client::segment, types::*};

        impl Client { #methods }

        #queries
    })
}

fn method(operation: &Operation) -> anyhow::Result<TokenStream> {
    let name = format_ident!("{}", operation.id.to_snake_case());
    let verb = format_ident!("{}", operation.method);
    let documentation = documentation(operation);
    let (path, mut arguments) = path(operation)?;
    let mut call = quote! { self.call(Method::#verb, #path) };
    if operation
        .parameters
        .iter()
        .any(|parameter| parameter.place == "query")
    {
        let query = query_name(operation);
        arguments.extend(quote! { , query: &#query });
        call.extend(quote! { .query(query)? });
    }
    if let Some(request) = &operation.request {
        let body = type_of(&request.schema)?;
        if request.required {
            arguments.extend(quote! { , body: &#body });
            call.extend(quote! { .json(body)? });
        } else {
            arguments.extend(quote! { , body: Option<&#body> });
            call.extend(quote! { .maybe_json(body)? });
        }
    }
    let (returns, receive) = answer(operation)?;
    Ok(quote! {
        #(#[doc = #documentation])*
        pub async fn #name(&self #arguments) -> Result<#returns, Error> {
            #call.#receive.await
        }
    })
}

fn documentation(operation: &Operation) -> Vec<String> {
    let mut lines = vec![format!(" {}.", operation.summary), String::new()];
    if let Some(description) = &operation.description {
        lines.extend(description.trim().lines().map(|line| format!(" {line}")));
        lines.push(String::new());
    }
    lines.push(format!(" `{} {}`", operation.method, operation.path));
    lines
}

/// Returns the path as an expression and the arguments that go into it.
fn path(operation: &Operation) -> anyhow::Result<(TokenStream, TokenStream)> {
    let mut arguments = TokenStream::new();
    let mut values = TokenStream::new();
    let mut template = operation.path.clone();
    for parameter in operation
        .parameters
        .iter()
        .filter(|parameter| parameter.place == "path")
    {
        template = template.replace(&format!("{{{}}}", parameter.name), "{}");
        let name = format_ident!("{}", parameter.name);
        let kind = if parameter.schema["format"] == "uuid" {
            quote!(Uuid)
        } else {
            quote!(&str)
        };
        arguments.extend(quote! { , #name: #kind });
        values.extend(quote! { , segment(&#name) });
    }
    if template.replace("{}", "").contains('{') {
        bail!("the path has a parameter that is not declared");
    }
    let path = if values.is_empty() {
        quote!(#template)
    } else {
        quote!(format!(#template #values))
    };
    Ok((path, arguments))
}

/// Returns the type of a success and the way to receive it.
fn answer(operation: &Operation) -> anyhow::Result<(TokenStream, TokenStream)> {
    let success = operation
        .responses
        .iter()
        .find(|(status, _)| (200..300).contains(*status));
    let (success, body) = success.context("it has no success")?;
    let body = match body {
        Body::Text => return Ok((quote!(String), quote!(text(#success)))),
        Body::Problem => bail!("a success cannot be a problem"),
        Body::Json(name) => format_ident!("{name}"),
    };
    let same = |status: u16| {
        operation
            .responses
            .get(&status)
            .is_some_and(|other| matches!(other, Body::Json(name) if body == name))
    };
    Ok(if operation.responses.contains_key(&202) {
        (quote!(Written<#body>), quote!(written(body)))
    } else if same(503) {
        (quote!(Checked<#body>), quote!(checked()))
    } else {
        (quote!(#body), quote!(answer(#success)))
    })
}

fn query_name(operation: &Operation) -> proc_macro2::Ident {
    format_ident!("{}", operation.id.to_upper_camel_case())
}

fn query(operation: &Operation) -> anyhow::Result<TokenStream> {
    let parameters: Vec<&Parameter> = operation
        .parameters
        .iter()
        .filter(|parameter| parameter.place == "query")
        .collect();
    if parameters.is_empty() {
        return Ok(TokenStream::new());
    }
    let mut fields = TokenStream::new();
    for Parameter {
        name,
        required,
        description,
        schema,
        ..
    } in parameters
    {
        let ident = format_ident!("{name}");
        let kind = type_of(schema)?;
        let description = description.clone().unwrap_or_else(|| default_text(schema));
        let description = format!(" {description}");
        fields.extend(if *required {
            quote! {
                #[doc = #description]
                pub #ident: #kind,
            }
        } else {
            quote! {
                #[doc = #description]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub #ident: Option<#kind>,
            }
        });
    }
    let name = query_name(operation);
    let documentation = format!(
        " What [`Client::{}`] asks for; absent members take the server's defaults.",
        operation.id.to_snake_case()
    );
    Ok(quote! {
        #[doc = #documentation]
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        pub struct #name { #fields }
    })
}

fn default_text(schema: &Value) -> String {
    match &schema["default"] {
        Value::Null => "Equality.".to_owned(),
        default => format!("Default {default}."),
    }
}

fn type_of(schema: &Value) -> anyhow::Result<TokenStream> {
    if let Some(name) = component(schema) {
        let name = format_ident!("{}", types::shared(name).unwrap_or(name));
        return Ok(quote!(#name));
    }
    Ok(match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("array"), _) => {
            let item = type_of(&schema["items"])?;
            quote!([#item])
        }
        (Some("string"), None) => quote!(String),
        (Some("integer"), Some("int32")) => quote!(i32),
        (Some("integer"), Some("int64")) => quote!(i64),
        (Some("boolean"), _) => quote!(bool),
        _ => bail!("schema {schema} is not provided for"),
    })
}
