//! The application's role can do its work: its privileges as the record of shapes has them, and the login may take the role.
//!
//! A migration grants what its role needs, where the role is there by then. One that was made later, or a table made by another
//! login, is brought up by the next run, whatever else that has to do.

use crate::catalogue::Catalogue;
use crate::names::Names;
use crate::report::{Event, Report};
use crate::rows::{Rows, named, text};
use crate::session::Run;
use crate::sql::{identifier, literal};

/// What a login needs to take a role: from PostgreSQL 16 on, more than to be a member of it.
const MAY_TAKE: &str = "CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END";

/// An object of the schema and what the role may do with it.
struct Grant {
    /// `TABLE` or `FUNCTION`.
    kind: &'static str,
    /// With its schema, as SQL.
    object: String,
    /// As `INSERT, SELECT`.
    privileges: String,
}

impl Grant {
    /// The function that finds the object, if it is there.
    fn found(&self) -> String {
        let finder = if self.kind == "TABLE" {
            "to_regclass"
        } else {
            "to_regproc"
        };
        format!("{finder}({})", literal(&self.object))
    }

    /// True where the object is there and the role lacks a privilege; null where either is not.
    fn is_missing(&self, role: &str) -> String {
        let (has, cast) = if self.kind == "TABLE" {
            ("has_table_privilege", "")
        } else {
            ("has_function_privilege", "::oid")
        };
        let lacks = self.privileges.split(", ").map(|privilege| {
            let (found, privilege) = (self.found(), literal(privilege));
            format!("NOT {has}({role}, {found}{cast}, {privilege})")
        });
        format!("({})", lacks.collect::<Vec<_>>().join(" OR "))
    }
}

/// What the record has for the role: none for a catalogue without one, such as a team's own files.
fn recorded(names: &Names, catalogue: &Catalogue) -> Option<(String, Vec<Grant>)> {
    let role = names.role.clone()?;
    let part = format!("grant {role}");
    let grant = |(object, privileges): (String, String)| {
        let (kind, name) = object.split_once(' ')?;
        Some(Grant {
            kind: if kind == "function" {
                "FUNCTION"
            } else {
                "TABLE"
            },
            object: names.in_schema(name),
            privileges,
        })
    };
    let mut grants: Vec<Grant> = catalogue.parts(&part).filter_map(grant).collect();
    if grants.is_empty() {
        return None;
    }
    grants.push(Grant {
        kind: "TABLE",
        object: names.ledger(),
        privileges: "SELECT".to_owned(),
    });
    Some((role, grants))
}

/// The role's OID, as SQL that is null where the role is not there.
fn oid(role: &str) -> String {
    format!("to_regrole({})::oid", literal(&identifier(role)))
}

/// An expression that is true where the role is there and lacks something. Plain functions of the catalogue's cache, as
/// [`crate::partitions::missing_by_name`].
pub(crate) fn missing(names: &Names, catalogue: &Catalogue) -> String {
    let Some((role, grants)) = recorded(names, catalogue) else {
        return "false".to_owned();
    };
    let oid = oid(&role);
    let lacking = grants.iter().map(|grant| grant.is_missing(&oid));
    format!(
        "coalesce(NOT pg_has_role(current_user, {oid}, {MAY_TAKE}) OR {}, false)",
        lacking.collect::<Vec<_>>().join(" OR ")
    )
}

/// Statements that give the role what it lacks and the login the role, where they may, and tell what is left, for [`tell`].
pub(crate) fn give(names: &Names, catalogue: &Catalogue) -> String {
    let Some((role, grants)) = recorded(names, catalogue) else {
        return String::new();
    };
    let (oid, name) = (oid(&role), identifier(&role));
    // Only what is lacking: to grant what is granted writes, and two runs that write one row fail.
    let guarded = |condition: &str, statement: &str| {
        format!(
            "BEGIN IF {condition} THEN EXECUTE {statement}; END IF; \
             EXCEPTION WHEN insufficient_privilege OR internal_error OR read_only_sql_transaction THEN NULL; END;"
        )
    };
    let mut steps: Vec<String> = grants
        .iter()
        .map(|grant| {
            let Grant {
                kind,
                object,
                privileges,
            } = grant;
            let statement = format!("GRANT {privileges} ON {kind} {object} TO {name}");
            guarded(&grant.is_missing(&oid), &literal(&statement))
        })
        .collect();
    let options = "CASE WHEN current_setting('server_version_num')::integer < 160000 THEN '' ELSE ' WITH INHERIT FALSE, SET TRUE' END";
    let membership = format!(
        "{} || {options}",
        literal(&format!("GRANT {name} TO CURRENT_USER"))
    );
    steps.push(guarded(
        &format!("NOT pg_has_role(current_user, {oid}, {MAY_TAKE})"),
        &membership,
    ));
    let body = format!("BEGIN {} END", steps.join(" "));
    let lacking: Vec<String> = grants.iter().map(|grant| grant.is_missing(&oid)).collect();
    format!(
        "DO {}; SELECT current_user AS role_of_application, NOT pg_has_role(current_user, {oid}, {MAY_TAKE}), {};",
        literal(&body),
        lacking.join(" OR ")
    )
}

/// Warns of what [`give`] could not give.
pub(crate) fn tell(run: &Run, sets: &[Rows], report: &mut Report) {
    let (Some(role), Some(row)) = (
        run.config.names.role.as_deref(),
        named(sets, "role_of_application").and_then(<[_]>::first),
    ) else {
        return;
    };
    let login = text(row, 0);
    let mut texts = Vec::new();
    if row.get(1) == Some("t") {
        texts.push(format!(
            "login {login} may not take the role {role}: an application that logs in with it is limited by {login}'s own rights only; \
             run `GRANT {} TO {}` as a superuser",
            identifier(role),
            identifier(&login)
        ));
    }
    if row.get(2) == Some("t") {
        texts.push(format!(
            "role {role} lacks privileges that login {login} may not grant; run migrate as the owner of the tables"
        ));
    }
    for text in texts {
        run.config.emit(&Event::Warning { text: text.clone() });
        report.warnings.push(text);
    }
}
