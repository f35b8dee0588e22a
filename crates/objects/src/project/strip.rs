//! TypeScript's types blanked out of the text, in place: every line and nearly every column stays where it was.
//!
//! What is more than types and has an equal in JavaScript (enums, parameter properties) is written out on its line; what
//! has none is refused with its place.

#![expect(clippy::wildcard_enum_match_arm, reason = "of a language's many nodes few have types")]

mod equals;

use std::{collections::HashSet, path::Path};

use oxc_allocator::Allocator;
use oxc_ast::ast::*;
use oxc_ast_visit::{Visit, walk};
use oxc_parser::Parser;
use oxc_span::{GetSpan, SourceType, Span};

use super::{Place, ProjectError};

/// Words before a member's name that are nothing but types.
const MODIFIERS: [&str; 7] = ["public", "private", "protected", "readonly", "override", "declare", "abstract"];

/// A module that this one imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub specifier: String,
    /// Of the literal with its quotes, in bytes of the original text.
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    start: usize,
    end: usize,
    with: String,
}

/// A module without its types.
#[derive(Debug, Default)]
pub struct Stripped {
    edits: Vec<Edit>,
    pub imports: Vec<Import>,
}

impl Stripped {
    /// The module's text with these imports under other names.
    pub fn with_imports(&self, text: &str, named: &[(Import, String)]) -> String {
        let mut edits = self.edits.clone();
        edits.extend(named.iter().map(|(import, name)| Edit {
            start: import.start,
            end: import.end,
            with: serde_json::Value::from(name.as_str()).to_string(),
        }));
        edits.sort_by_key(|edit| (edit.start, edit.end));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for edit in edits {
            // What lies within something that was blanked already is gone with it.
            if edit.start < at {
                continue;
            }
            out.push_str(&text[at..edit.start]);
            out.push_str(&edit.with);
            at = edit.end;
        }
        out.push_str(&text[at..]);
        out
    }
}

/// Reads a module. JavaScript stays as it is; its imports are found.
pub fn strip(file: &Path, text: &str) -> Result<Stripped, ProjectError> {
    let kind = match file.extension().and_then(|ending| ending.to_str()) {
        Some("ts" | "mts" | "cts") => SourceType::ts(),
        Some("tsx") => SourceType::tsx(),
        Some("jsx") => SourceType::jsx(),
        Some(_) | None => SourceType::mjs(),
    };
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, text, kind.with_module(true)).parse();
    if let Some(error) = parsed.diagnostics.first() {
        let at = error.labels.first().map_or(0, |label| label.offset() as usize);
        return Err(ProjectError::invalid(Place::of(file, text, at), error.message.to_string()));
    }
    let mut stripper = Stripper { text, typescript: kind.is_typescript(), ..Stripper::default() };
    stripper.visit_program(&parsed.program);
    stripper.drop_unused_imports();
    if let Some((at, message)) = stripper.refused.first() {
        return Err(ProjectError::invalid(Place::of(file, text, *at), *message));
    }
    Ok(Stripped { edits: stripper.edits, imports: stripper.imports })
}

/// An import statement, kept until it is known what of it is used.
struct Clause {
    statement: (usize, usize),
    source: Import,
    default: Option<String>,
    namespace: Option<String>,
    /// Local name and how it is written.
    named: Vec<(String, String)>,
    /// Something in it is a type by its own word.
    changed: bool,
}

#[derive(Default)]
struct Stripper<'t> {
    text: &'t str,
    typescript: bool,
    edits: Vec<Edit>,
    imports: Vec<Import>,
    clauses: Vec<Clause>,
    /// Names that are used as values.
    used: HashSet<String>,
    refused: Vec<(usize, &'static str)>,
}

fn range(span: Span) -> (usize, usize) {
    (span.start as usize, span.end as usize)
}

fn blanks(text: &str) -> String {
    text.chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect()
}

impl Stripper<'_> {
    fn blank(&mut self, start: usize, end: usize) {
        if start < end {
            self.replace(start, end, blanks(&self.text[start..end]));
        }
    }

    fn blank_span(&mut self, span: Span) {
        let (start, end) = range(span);
        self.blank(start, end);
    }

    /// A semicolon stays: without it the lines before and after might read as one statement.
    fn blank_statement(&mut self, span: Span) {
        let (start, end) = range(span);
        let blank = blanks(&self.text[start..end]);
        self.replace(start, end, blank.replacen(' ', ";", 1));
    }

    fn replace(&mut self, start: usize, end: usize, with: String) {
        self.edits.push(Edit { start, end, with });
    }

    fn insert(&mut self, at: usize, with: String) {
        self.replace(at, at, with);
    }

    fn refuse(&mut self, span: Span, message: &'static str) {
        self.refused.push((span.start as usize, message));
    }

    /// Blanks these words between two places.
    fn blank_words(&mut self, start: usize, end: usize, words: &[&str]) {
        let text = &self.text[start..end.max(start)];
        let mut at = 0;
        let mut found = Vec::new();
        for part in text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_' && char != '$') {
            if words.contains(&part) {
                found.push((start + at, start + at + part.len()));
            }
            at += part.len();
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
        for (start, end) in found {
            self.blank(start, end);
        }
    }

    fn blank_marks(&mut self, start: usize, end: usize) {
        let marks = self.text[start..end.max(start)].char_indices().filter(|(_, char)| matches!(char, '?' | '!'));
        for at in marks.map(|(at, _)| start + at).collect::<Vec<_>>() {
            self.blank(at, at + 1);
        }
    }

    fn import(&mut self, source: &StringLiteral<'_>) {
        let import = self.import_of(source);
        self.imports.push(import);
    }

    fn import_of(&self, source: &StringLiteral<'_>) -> Import {
        let (start, end) = range(source.span);
        Import { specifier: source.value.to_string(), start, end }
    }

    fn text_of(&self, span: Span) -> String {
        let (start, end) = range(span);
        self.text[start..end].to_owned()
    }

    /// A name that is only ever used as a type does not exist when the module runs.
    fn drop_unused_imports(&mut self) {
        for clause in std::mem::take(&mut self.clauses) {
            let before =
                clause.named.len() + usize::from(clause.default.is_some()) + usize::from(clause.namespace.is_some());
            let default = clause.default.filter(|name| self.used.contains(name));
            let namespace = clause.namespace.filter(|name| self.used.contains(name));
            let named: Vec<String> = clause
                .named
                .into_iter()
                .filter(|(local, _)| self.used.contains(local))
                .map(|(_, written)| written)
                .collect();
            let after = named.len() + usize::from(default.is_some()) + usize::from(namespace.is_some());
            let (start, end) = clause.statement;
            if after == 0 {
                let blank = blanks(&self.text[start..end]);
                self.replace(start, end, blank.replacen(' ', ";", 1));
                continue;
            }
            if after < before || clause.changed {
                let mut parts: Vec<String> = default.into_iter().collect();
                parts.extend(namespace.map(|name| format!("* as {name}")));
                if !named.is_empty() {
                    parts.push(format!("{{ {} }}", named.join(", ")));
                }
                let lines = "\n".repeat(self.text[start..clause.source.start].matches('\n').count());
                self.replace(start, clause.source.start, format!("import {} from {lines}", parts.join(", ")));
            }
            self.imports.push(clause.source);
        }
    }

    fn export_specifiers(
        &mut self,
        span: Span,
        specifiers: &[ExportSpecifier<'_>],
        source: Option<&StringLiteral<'_>>,
    ) {
        if !specifiers.iter().any(|specifier| specifier.export_kind.is_type()) {
            return;
        }
        let values = specifiers.iter().filter(|specifier| !specifier.export_kind.is_type());
        let values: Vec<String> = values.map(|specifier| self.text_of(specifier.span)).collect();
        let (start, end) = range(span);
        let end = source.map_or(end, |source| source.span.start as usize);
        let lines = "\n".repeat(self.text[start..end].matches('\n').count());
        let from = if source.is_some() { " from " } else { ";" };
        self.replace(start, end, format!("export {{ {} }}{lines}{from}", values.join(", ")));
    }

    fn is_erased(declaration: &Declaration<'_>) -> bool {
        match declaration {
            Declaration::VariableDeclaration(declaration) => declaration.declare,
            Declaration::FunctionDeclaration(function) => function.declare || function.body.is_none(),
            Declaration::ClassDeclaration(class) => class.declare,
            Declaration::TSEnumDeclaration(declaration) => declaration.declare,
            Declaration::TSNamespaceDeclaration(declaration) => declaration.declare,
            Declaration::TSTypeAliasDeclaration(_)
            | Declaration::TSInterfaceDeclaration(_)
            | Declaration::TSExternalModuleDeclaration(_)
            | Declaration::TSGlobalDeclaration(_) => true,
            Declaration::TSImportEqualsDeclaration(_) => false,
        }
    }

    fn member_modifiers(&mut self, span: Span, key: Span) {
        let (start, _) = range(span);
        let (key, _) = range(key);
        self.blank_words(start, key, &MODIFIERS);
    }
}

impl<'a> Visit<'a> for Stripper<'_> {
    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        self.used.insert(it.name.to_string());
    }

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.blank_span(it.span);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.blank_span(it.span);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.blank_span(it.span);
    }

    fn visit_ts_this_parameter(&mut self, it: &TSThisParameter<'a>) {
        let (start, end) = range(it.span);
        let comma = self.text[end..].find(|char: char| !char.is_whitespace());
        let comma = comma.filter(|at| self.text[end + at..].starts_with(','));
        self.blank(start, comma.map_or(end, |at| end + at + 1));
    }

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank(it.expression.span().end as usize, it.span.end as usize);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank(it.expression.span().end as usize, it.span.end as usize);
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank(it.expression.span().end as usize, it.span.end as usize);
    }

    fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
        self.blank(it.span.start as usize, it.expression.span().start as usize);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_instantiation_expression(&mut self, it: &TSInstantiationExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank(it.expression.span().end as usize, it.span.end as usize);
    }

    fn visit_declaration(&mut self, it: &Declaration<'a>) {
        match it {
            erased if Self::is_erased(erased) => self.blank_statement(erased.span()),
            Declaration::TSEnumDeclaration(declaration) => self.enumeration(declaration),
            Declaration::TSNamespaceDeclaration(declaration) => {
                self.refuse(declaration.span, "namespaces are not supported: make it a module of its own");
            }
            Declaration::TSImportEqualsDeclaration(declaration) => {
                self.refuse(declaration.span, "import = is not supported: write import … from …");
            }
            _other => walk::walk_declaration(self, it),
        }
    }

    fn visit_export_declaration(&mut self, it: &ExportDeclaration<'a>) {
        if Self::is_erased(&it.declaration) {
            self.blank_statement(it.span);
        } else {
            walk::walk_export_declaration(self, it);
        }
    }

    fn visit_export_default_declaration(&mut self, it: &ExportDefaultDeclaration<'a>) {
        match &it.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => self.blank_statement(it.span),
            ExportDefaultDeclarationKind::FunctionDeclaration(function) if function.body.is_none() => {
                self.blank_statement(it.span);
            }
            _other => walk::walk_export_default_declaration(self, it),
        }
    }

    fn visit_ts_export_assignment(&mut self, it: &TSExportAssignment<'a>) {
        self.refuse(it.span, "export = is not supported: write export default");
    }

    fn visit_decorator(&mut self, it: &Decorator<'a>) {
        self.refuse(it.span, "decorators are not supported");
    }

    fn visit_jsx_element(&mut self, it: &JSXElement<'a>) {
        self.refuse(it.span, "JSX is not supported");
    }

    fn visit_jsx_fragment(&mut self, it: &JSXFragment<'a>) {
        self.refuse(it.span, "JSX is not supported");
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if it.definite {
            let end = it.type_annotation.as_ref().map_or(it.span.end, |annotation| annotation.span.start);
            self.blank_marks(it.id.span().end as usize, end as usize);
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        let (pattern, end) = range(it.pattern.span());
        if it.accessibility.is_some() || it.readonly || it.r#override {
            self.blank_words(it.span.start as usize, pattern, &MODIFIERS);
        }
        if it.optional {
            let until = it.type_annotation.as_ref().map_or(it.span.end, |annotation| annotation.span.start);
            // The parameter's span may end before its mark.
            let until = (until as usize).max((end + 1).min(self.text.len()));
            self.blank_marks(end, until);
        }
        walk::walk_formal_parameter(self, it);
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        if let Some(returns) = it.return_type.as_ref().filter(|returns| self.text_of(returns.span).contains('\n')) {
            // An arrow must stand on the line of its parameters.
            let (start, end) = range(returns.span);
            let lines = self.text[start..end].matches('\n').count();
            self.replace(start, end, " ".to_owned());
            let body = it.body.span().start as usize;
            if let Some(arrow) = self.text[end..body].find("=>") {
                self.insert(end + arrow + 2, "\n".repeat(lines));
            }
        }
        walk::walk_arrow_function_expression(self, it);
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        let (start, _) = range(it.span);
        let (body, _) = range(it.body.span);
        if it.r#abstract {
            let before = it.decorators.last().map_or(start, |decorator| decorator.span.end as usize);
            let word = self.text[before..body].find("class").map_or(body, |at| before + at);
            self.blank_words(before, word, &["abstract"]);
        }
        if let (Some(first), Some(last)) = (it.implements.first(), it.implements.last()) {
            let name_end = it.id.as_ref().map_or(start, |id| id.span.end as usize);
            let generics_end = it.type_parameters.as_ref().map_or(name_end, |generics| generics.span.end as usize);
            let heritage_end = it.heritage.as_ref().map_or(generics_end, |heritage| {
                let arguments = heritage.type_arguments.as_ref().map(|arguments| arguments.span.end);
                arguments.unwrap_or(heritage.expression.span().end) as usize
            });
            let word = self.text[heritage_end..first.span.start as usize].rfind("implements");
            self.blank(heritage_end + word.unwrap_or(0), last.span.end as usize);
        }
        walk::walk_class(self, it);
    }

    fn visit_ts_class_implements(&mut self, _: &TSClassImplements<'a>) {}

    fn visit_ts_index_signature(&mut self, it: &TSIndexSignature<'a>) {
        self.blank_statement(it.span);
    }

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        if it.r#type == MethodDefinitionType::TSAbstractMethodDefinition || it.value.body.is_none() {
            return self.blank_statement(it.span);
        }
        self.member_modifiers(it.span, it.key.span());
        if it.optional {
            self.blank_marks(it.key.span().end as usize, it.value.span.start as usize);
        }
        if it.kind == MethodDefinitionKind::Constructor {
            self.parameter_properties(&it.value);
        }
        walk::walk_method_definition(self, it);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        if it.declare || it.r#type == PropertyDefinitionType::TSAbstractPropertyDefinition {
            return self.blank_statement(it.span);
        }
        self.member_modifiers(it.span, it.key.span());
        if it.optional || it.definite {
            let end = it.type_annotation.as_ref().map(|annotation| annotation.span.start);
            let end = end.or_else(|| it.value.as_ref().map(|value| value.span().start)).unwrap_or(it.span.end);
            self.blank_marks(it.key.span().end as usize, end as usize);
        }
        walk::walk_property_definition(self, it);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.refuse(it.span, "accessor is not supported");
    }

    fn visit_import_expression(&mut self, it: &ImportExpression<'a>) {
        if let Expression::StringLiteral(source) = &it.source {
            self.import(source);
        }
        walk::walk_import_expression(self, it);
    }

    fn visit_import_declaration(&mut self, it: &ImportDeclaration<'a>) {
        if it.import_kind.is_type() {
            return self.blank_statement(it.span);
        }
        let Some(specifiers) = it.specifiers.as_ref().filter(|specifiers| self.typescript && !specifiers.is_empty())
        else {
            return self.import(&it.source);
        };
        let source = self.import_of(&it.source);
        let mut clause = Clause {
            statement: range(it.span),
            source,
            default: None,
            namespace: None,
            named: Vec::new(),
            changed: false,
        };
        for specifier in specifiers {
            match specifier {
                ImportDeclarationSpecifier::ImportSpecifier(specifier) if specifier.import_kind.is_type() => {
                    clause.changed = true;
                }
                ImportDeclarationSpecifier::ImportSpecifier(specifier) => {
                    clause.named.push((specifier.local.name.to_string(), self.text_of(specifier.span)));
                }
                ImportDeclarationSpecifier::ImportDefaultSpecifier(specifier) => {
                    clause.default = Some(specifier.local.name.to_string());
                }
                ImportDeclarationSpecifier::ImportNamespaceSpecifier(specifier) => {
                    clause.namespace = Some(specifier.local.name.to_string());
                }
            }
        }
        self.clauses.push(clause);
    }

    fn visit_export_named_declaration(&mut self, it: &ExportNamedDeclaration<'a>) {
        if it.export_kind.is_type() {
            return self.blank_statement(it.span);
        }
        self.export_specifiers(it.span, &it.specifiers, None);
        for specifier in it.specifiers.iter().filter(|specifier| !specifier.export_kind.is_type()) {
            self.used.insert(specifier.local.name().to_string());
        }
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        if it.export_kind.is_type() {
            return self.blank_statement(it.span);
        }
        self.export_specifiers(it.span, &it.specifiers, Some(&it.source));
        self.import(&it.source);
    }

    fn visit_export_all_declaration(&mut self, it: &ExportAllDeclaration<'a>) {
        if it.export_kind.is_type() {
            self.blank_statement(it.span);
        } else {
            self.import(&it.source);
        }
    }
}

#[cfg(test)]
mod tests;
