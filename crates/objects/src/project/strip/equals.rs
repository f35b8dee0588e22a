//! What is more than types and has an equal in JavaScript, written out on its line.

use oxc_ast::ast::*;
use oxc_ast_visit::Visit;
use oxc_span::GetSpan;

use super::{Stripper, range};

impl Stripper<'_> {
    pub(super) fn enumeration(&mut self, declaration: &TSEnumDeclaration<'_>) {
        let name = declaration.id.name.as_str();
        let (start, end) = range(declaration.span);
        let (body, _) = range(declaration.body.span);
        let lines = "\n".repeat(self.text[start..body].matches('\n').count());
        self.replace(start, body + 1, format!("{lines}var {name} = (({name}) => {{ let $ = -1; "));
        for member in &declaration.body.members {
            let (start, end) = range(member.span);
            let (key, local) = match &member.id {
                TSEnumMemberName::Identifier(id) => {
                    (serde_json::Value::from(id.name.as_str()).to_string(), format!("const {} = ", id.name))
                }
                TSEnumMemberName::String(text) | TSEnumMemberName::ComputedString(text) => {
                    (serde_json::Value::from(text.value.as_str()).to_string(), String::new())
                }
                TSEnumMemberName::ComputedTemplateString(text) => (self.text_of(text.span), String::new()),
            };
            let record = format!("; if (typeof $ !== \"string\") {name}[$] = {key};");
            match &member.initializer {
                Some(initializer) => {
                    let (from, to) = range(initializer.span());
                    self.visit_expression(initializer);
                    self.replace(start, from, format!("{local}{name}[{key}] = $ = "));
                    self.replace(to, end, record);
                }
                None => self.replace(start, end, format!("{local}{name}[{key}] = $ = $ + 1{record}")),
            }
            // What stands between two members.
            let rest = &self.text[end..];
            let comma = rest.find([',', '}']).filter(|at| rest[*at..].starts_with(','));
            if let Some(comma) = comma {
                self.blank(end + comma, end + comma + 1);
            }
        }
        self.replace(end - 1, end, format!("return {name}; }})({{}});"));
    }

    /// `constructor(private x)` is `this.x = x`.
    pub(super) fn parameter_properties(&mut self, constructor: &Function<'_>) {
        let Some(body) = &constructor.body else { return };
        let mut text = String::new();
        for parameter in &constructor.params.items {
            let is_property = parameter.accessibility.is_some() || parameter.readonly || parameter.r#override;
            if let (true, BindingPattern::BindingIdentifier(name)) = (is_property, &parameter.pattern) {
                text.push_str(&format!(" this.{0} = {0};", name.name));
            }
        }
        if text.is_empty() {
            return;
        }
        let is_super = |statement: &&Statement<'_>| match statement {
            Statement::ExpressionStatement(statement) => match &statement.expression {
                Expression::CallExpression(call) => matches!(call.callee, Expression::Super(_)),
                _other => false,
            },
            _other => false,
        };
        let at = match body.statements.iter().find(is_super) {
            Some(statement) => statement.span().end,
            None => body.directives.last().map_or(body.span.start + 1, |directive| directive.span.end),
        };
        self.insert(at as usize, format!(";{text}"));
    }
}
