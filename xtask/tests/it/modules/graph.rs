//! Which module imports which: circles, and imports against a written order.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Module;

/// What introduces the order in the documentation of a crate's root, or of a module that has modules.
const ORDER: &str = "each may import those after it:";
/// How many re-exports a name is followed through.
const REEXPORTS: usize = 16;

/// The modules of a crate and the imports between them.
pub(super) struct Graph {
    modules: Vec<Module>,
    /// From one module to another, with the first line that says so.
    imports: BTreeMap<(usize, usize), usize>,
}

impl Graph {
    /// Finds the module behind every path that a module mentions.
    pub(super) fn of(modules: Vec<Module>) -> Self {
        let mut graph = Self {
            modules,
            imports: BTreeMap::new(),
        };
        for from in 0..graph.modules.len() {
            for (path, line) in graph.modules[from].mentions.clone() {
                if let Some(to) = graph.find(from, &path, REEXPORTS).filter(|to| *to != from) {
                    let first = graph.imports.entry((from, to)).or_insert(line);
                    *first = line.min(*first);
                }
            }
        }
        graph
    }

    fn at(&self, path: &[String]) -> Option<usize> {
        self.modules.iter().position(|module| module.path == path)
    }

    fn child(&self, of: usize, name: &str) -> Option<usize> {
        let path = [&self.modules[of].path[..], &[name.to_owned()]].concat();
        self.at(&path)
    }

    /// The module that defines what a path leads to, as seen from a module; none outside of the crate.
    fn find(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let depth = depth.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let own = &self.modules[from].path;
        match first.as_str() {
            "crate" => self.walk(0, rest, depth),
            "self" => self.walk(from, rest, depth),
            "super" => {
                let above = self.at(&own[..own.len().checked_sub(1)?])?;
                match rest.first() {
                    Some(next) if next == "super" => self.find(above, rest, depth),
                    _ => self.walk(above, rest, depth),
                }
            }
            name => {
                // An import of the same name is that of a function: a module's name it cannot take.
                if self.child(from, name).is_some() || self.modules[from].items.contains(name) {
                    return self.walk(from, path, depth);
                }
                if let Some(import) = self.modules[from].imports.get(name)
                    && import != &[name.to_owned()]
                {
                    return self.find(from, &[import, rest].concat(), depth);
                }
                self.behind_globs(from, path, depth)
            }
        }
    }

    fn walk(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let Some((name, rest)) = path.split_first() else {
            return Some(from);
        };
        if let Some(child) = self.child(from, name) {
            return self.walk(child, rest, depth);
        }
        if self.modules[from].items.contains(name) {
            return Some(from);
        }
        let import = self.modules[from].imports.get(name);
        let behind = import.and_then(|import| self.find(from, &[import, rest].concat(), depth));
        behind
            .or_else(|| self.behind_globs(from, path, depth))
            .or(Some(from))
    }

    fn behind_globs(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let depth = depth.checked_sub(1)?;
        let name = path.first()?;
        let globs = self.modules[from].globs.iter();
        let mut behind = globs.filter_map(|glob| self.find(from, glob, depth));
        behind
            .find(|to| {
                let module = &self.modules[*to];
                module.items.contains(name)
                    || module.imports.contains_key(name)
                    || self.child(*to, name).is_some()
            })
            .and_then(|to| self.walk(to, path, depth))
    }

    fn name(&self, module: usize) -> String {
        match self.modules[module].path.as_slice() {
            [] => "the root".to_owned(),
            path => path.join("::"),
        }
    }

    fn told(&self, from: usize, to: usize) -> String {
        format!(
            "{}:{}: {} imports {}",
            self.modules[from].file,
            self.imports[&(from, to)],
            self.name(from),
            self.name(to)
        )
    }

    fn reachable(&self, from: usize) -> BTreeSet<usize> {
        let (mut reached, mut ahead) = (BTreeSet::new(), vec![from]);
        while let Some(at) = ahead.pop() {
            let next = self.imports.keys().filter(|(from, _)| *from == at);
            ahead.extend(next.map(|(_, to)| *to).filter(|to| reached.insert(*to)));
        }
        reached
    }

    /// Every group of modules that all import each other in the end, with the imports that tie it.
    pub(super) fn circles(&self) -> Vec<String> {
        let reached: Vec<_> = (0..self.modules.len())
            .map(|module| self.reachable(module))
            .collect();
        let mut told = Vec::new();
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        for one in 0..self.modules.len() {
            if !reached[one].contains(&one) || seen.contains(&one) {
                continue;
            }
            let mut group: Vec<_> = reached[one]
                .iter()
                .copied()
                .filter(|other| reached[*other].contains(&one))
                .collect();
            seen.extend(&group);
            group.sort_by_key(|module| self.name(*module));
            let names: Vec<_> = group.iter().map(|module| self.name(*module)).collect();
            let mut ties: Vec<_> = self
                .imports
                .keys()
                .filter(|(from, to)| group.contains(from) && group.contains(to))
                .map(|(from, to)| format!("  {}", self.told(*from, *to)))
                .collect();
            ties.sort();
            told.push(format!(
                "{} modules in a circle: {}\n{}",
                group.len(),
                names.join(", "),
                ties.join("\n")
            ));
        }
        told
    }

    /// Every import of a module below `one` in a module below `other`.
    pub(super) fn between(&self, one: &str, other: &str) -> Vec<String> {
        let below = |module: usize, name: &str| {
            let names: Vec<_> = name.split("::").collect();
            let path = self.modules[module].path.iter().take(names.len());
            path.map(String::as_str).eq(names)
        };
        let imports = self.imports.keys();
        imports
            .filter(|(from, to)| below(*from, one) && below(*to, other))
            .map(|(from, to)| self.told(*from, *to))
            .collect()
    }

    /// The order that a module's documentation gives the modules in it.
    fn order(&self, module: usize) -> Option<Vec<String>> {
        let (_, rest) = self.modules[module].docs.split_once(ORDER)?;
        let rest = rest.split("\n\n").next().unwrap_or_default();
        let names = rest.split(',').map(|name| name.trim().trim_matches('`'));
        Some(names.map(str::to_owned).collect())
    }

    fn children(&self, of: usize) -> Vec<String> {
        let path = &self.modules[of].path;
        let below = self
            .modules
            .iter()
            .filter(|module| module.path.len() == path.len() + 1 && module.path.starts_with(path));
        below
            .filter_map(|module| module.path.last().cloned())
            .collect()
    }

    /// Says so where the root has several modules and writes down no order for them.
    pub(super) fn order_is_missing(&self) -> Option<String> {
        let root = &self.modules[0].file;
        (self.children(0).len() > 1 && self.order(0).is_none())
            .then(|| format!("{root} has no line `Modules, {ORDER} …`"))
    }

    /// Every import against a written order, and every order that is not that of its modules.
    pub(super) fn against_the_order(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (at, module) in self.modules.iter().enumerate() {
            let Some(order) = self.order(at) else {
                continue;
            };
            let (file, children) = (&module.file, self.children(at));
            let left_out = children.iter().filter(|child| !order.contains(child));
            told.extend(left_out.map(|child| format!("{file}: the order leaves out `{child}`")));
            let gone = order.iter().filter(|name| !children.contains(name));
            told.extend(
                gone.map(|name| format!("{file}: the order names `{name}`, which is no module")),
            );
            let place = |of: usize| {
                let below = self.modules[of].path.strip_prefix(&module.path[..])?;
                order.iter().position(|name| Some(name) == below.first())
            };
            for (from, to) in self.imports.keys() {
                if let (Some(one), Some(other)) = (place(*from), place(*to))
                    && other < one
                {
                    told.push(format!(
                        "{}, which comes before it in the order of {file}",
                        self.told(*from, *to)
                    ));
                }
            }
        }
        told.sort();
        told
    }
}
