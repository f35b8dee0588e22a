//! What a user's SQL may do.

use rusqlite::ffi;
use std::ffi::c_int;

/// Pragmas that read, and those that change how one transaction behaves.
const PRAGMAS: [&str; 17] = [
    "case_sensitive_like",
    "data_version",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "function_list",
    "ignore_check_constraints",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "legacy_alter_table",
    "optimize",
    "quick_check",
    "recursive_triggers",
    "reverse_unordered_selects",
];

/// Those that set something when they are given an argument.
const READ_PRAGMAS: [&str; 4] = ["encoding", "freelist_count", "page_count", "page_size"];

const TABLE_PRAGMAS: [&str; 4] = ["table_info", "table_list", "table_xinfo", "pragma_list"];

const FUNCTIONS: [&str; 6] = [
    "load_extension",
    "fts3_tokenizer",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_offset",
    "sqlite_log",
];

const MODULES: [&str; 2] = ["fts5", "fts5vocab"];

/// Tables of SQLite's own that tell of the engine rather than of the database.
const TABLES: [&str; 3] = ["dbstat", "sqlite_dbpage", "sqlite_stmt"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
}

fn reserved(name: Option<&str>) -> bool {
    name.is_some_and(|name| {
        name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_cf_"))
            || TABLES.iter().any(|table| name.eq_ignore_ascii_case(table))
    })
}

fn listed(list: &[&str], name: Option<&str>) -> bool {
    name.is_some_and(|name| list.iter().any(|entry| name.eq_ignore_ascii_case(entry)))
}

/// `action` and its arguments as in sqlite3_set_authorizer; `schema` is the database's name.
pub(super) fn judge(action: c_int, first: Option<&str>, second: Option<&str>, schema: Option<&str>) -> Verdict {
    let allowed = match action {
        ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE | ffi::SQLITE_ANALYZE | ffi::SQLITE_REINDEX => true,
        ffi::SQLITE_READ | ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE => {
            // Renaming a table looks through the schema of temporary tables, of which there are none.
            let temporary = schema == Some("temp") && first == Some("sqlite_temp_master");
            temporary || (schema.is_none_or(|schema| schema == "main") && !reserved(first))
        }
        ffi::SQLITE_CREATE_TABLE | ffi::SQLITE_DROP_TABLE | ffi::SQLITE_CREATE_VIEW | ffi::SQLITE_DROP_VIEW => {
            !reserved(first)
        }
        ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_CREATE_TRIGGER
        | ffi::SQLITE_DROP_TRIGGER
        | ffi::SQLITE_ALTER_TABLE => !reserved(first) && !reserved(second),
        ffi::SQLITE_CREATE_VTABLE | ffi::SQLITE_DROP_VTABLE => !reserved(first) && listed(&MODULES, second),
        ffi::SQLITE_FUNCTION => !listed(&FUNCTIONS, second),
        ffi::SQLITE_PRAGMA => {
            listed(&PRAGMAS, first)
                || listed(&TABLE_PRAGMAS, first)
                || (second.is_none() && listed(&READ_PRAGMAS, first))
        }
        // Transactions are the engine's, temporary tables outlive none, and there is one database.
        _ => false,
    };
    if allowed { Verdict::Allowed } else { Verdict::Denied }
}
