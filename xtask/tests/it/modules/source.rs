//! The modules of a crate as their files say: what each defines, what it imports, where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, ItemMod, ItemUse, Lit, Macro, Meta, UseTree, Visibility};

/// One module.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Its names below the crate's root, which itself has none.
    pub(super) path: Vec<String>,
    /// Its file, as messages name it.
    pub(super) file: String,
    /// Its documentation.
    pub(super) docs: String,
    /// The names that it defines.
    pub(super) items: BTreeSet<String>,
    /// The names that it imports, with the path behind each.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// The paths whose every name it imports.
    pub(super) globs: Vec<Vec<String>>,
    /// Every path that it mentions, with its line.
    pub(super) mentions: Vec<(Vec<String>, usize)>,
}

/// Reads the crate with this root file; files are named below `base`. What is compiled for tests only is left out.
pub(super) fn read(root: &Path, base: &Path) -> Vec<Module> {
    let mut modules = Vec::new();
    let dir = root.parent().expect("a directory").to_owned();
    file(root, base, &dir, Vec::new(), &mut modules);
    modules
}

fn file(path: &Path, base: &Path, dir: &Path, name: Vec<String>, modules: &mut Vec<Module>) {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parsed =
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let shown = path
        .strip_prefix(base)
        .unwrap_or(path)
        .display()
        .to_string();
    items(
        &parsed.items,
        &parsed.attrs,
        base,
        dir,
        (name, shown),
        modules,
    );
}

fn items(
    items: &[Item],
    attributes: &[Attribute],
    base: &Path,
    dir: &Path,
    (path, shown): (Vec<String>, String),
    modules: &mut Vec<Module>,
) {
    let mut reader = Reader(Module {
        path: path.clone(),
        file: shown.clone(),
        docs: docs(attributes),
        ..Module::default()
    });
    let mut inner = Vec::new();
    for item in items
        .iter()
        .filter(|item| !is_for_tests(attributes_of(item)))
    {
        reader.0.items.extend(name_of(item));
        match item {
            Item::Mod(module) => inner.push(module),
            other => reader.visit_item(other),
        }
    }
    modules.push(reader.0);
    for module in inner {
        child(module, base, dir, (&path, &shown), modules);
    }
}

/// A module inside another: in braces, or in a file of its own.
fn child(
    module: &ItemMod,
    base: &Path,
    dir: &Path,
    (parent, shown): (&[String], &str),
    modules: &mut Vec<Module>,
) {
    let name = module.ident.to_string();
    let path = [parent, std::slice::from_ref(&name)].concat();
    let below = dir.join(&name);
    if let Some((_, inside)) = &module.content {
        let place = (path, shown.to_owned());
        return items(inside, &module.attrs, base, &below, place, modules);
    }
    let candidates: Vec<PathBuf> = match written_path(&module.attrs) {
        Some(written) => vec![dir.join(written)],
        None => vec![dir.join(format!("{name}.rs")), below.join("mod.rs")],
    };
    let found = candidates.iter().find(|path| path.is_file());
    let found = found.unwrap_or_else(|| panic!("{shown}: the module {name} has no file"));
    file(found, base, &below, path, modules);
}

/// The file that `#[path = "…"]` names.
fn written_path(attributes: &[Attribute]) -> Option<String> {
    let path = attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("path"))?;
    text_of(path)
}

fn text_of(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"));
    let lines: Vec<_> = lines.filter_map(text_of).collect();
    lines.join("\n")
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return false;
        };
        let words = list.tokens.to_string();
        list.path.is_ident("cfg") && words.contains("test") && !words.contains("not")
    })
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Collects what a module mentions.
struct Reader(Module);

impl Reader {
    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &dyn ToString| {
            let name = name.to_string();
            if name == "self" && !before.is_empty() {
                before.to_vec()
            } else {
                [before, &[name]].concat()
            }
        };
        let line = tree.span().start().line;
        match tree {
            UseTree::Path(part) => self.import(&part.tree, &with(&part.ident)),
            UseTree::Group(group) => {
                for part in &group.items {
                    self.import(part, before);
                }
            }
            UseTree::Glob(_) => {
                self.0.mentions.push((before.to_vec(), line));
                self.0.globs.push(before.to_vec());
            }
            UseTree::Name(name) => {
                let path = with(&name.ident);
                self.0.mentions.push((path.clone(), line));
                if let Some(last) = path.last().cloned() {
                    self.0.imports.insert(last, path);
                }
            }
            UseTree::Rename(rename) => {
                let path = with(&rename.ident);
                self.0.mentions.push((path.clone(), line));
                self.0.imports.insert(rename.rename.to_string(), path);
            }
        }
    }

    /// Paths among tokens that are no syntax tree: the arguments of macros and attributes.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut line, mut colons) = (Vec::new(), 0, 0);
        let end = |reader: &mut Self, path: &mut Vec<String>, line: usize| {
            if path.len() > 1 {
                reader.0.mentions.push((path.clone(), line));
            }
            path.clear();
        };
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        end(self, &mut path, line);
                        line = name.span().start().line;
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    end(self, &mut path, line);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    end(self, &mut path, line);
                    colons = 0;
                }
            }
        }
        end(self, &mut path, line);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if names.len() > 1 && path.leading_colon.is_none() {
            self.0.mentions.push((names, path.span().start().line));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    /// Who may see a thing is no import.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
