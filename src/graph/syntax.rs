//! The syntax trees of expressions and templates, and walks over them.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{CallArg, CompareOpKind, Expr, Stmt};
use minijinja::machinery::{Token, parse, parse_expr, tokenize};

use super::expression::reason;
use super::words::FUNCTIONS;

/// Tokens one expression may have. The tree is walked by recursion, and a condition is a sentence, not a program.
const TOKENS: usize = 400;

/// Parses a bare expression.
pub(super) fn expression(text: &str) -> Result<Expr<'_>, String> {
    measured(text, true)?;
    parse_expr(text).map_err(|error| reason(&error))
}

/// Parses a template.
pub(super) fn template(text: &str) -> Result<Stmt<'_>, String> {
    measured(text, false)?;
    parse(text, "<template>", Default::default()).map_err(|error| reason(&error))
}

fn measured(text: &str, in_expression: bool) -> Result<(), String> {
    let mut length = 0;
    for token in tokenize(text, in_expression, Default::default()) {
        match token.map_err(|error| reason(&error))?.0 {
            Token::VariableStart | Token::BlockStart => length = 0,
            Token::VariableEnd | Token::BlockEnd => length = 0,
            _ => length += 1,
        }
        if length > TOKENS {
            return Err(format!("longer than {TOKENS} words and signs"));
        }
    }
    Ok(())
}

/// The expression of a template that is a single `{{ … }}` and nothing else.
pub(super) fn single<'t, 'a>(template: &'t Stmt<'a>) -> Option<&'t Expr<'a>> {
    let Stmt::Template(template) = template else { return None };
    match template.children.as_slice() {
        [Stmt::EmitExpr(emit)] => Some(&emit.expr),
        _ => None,
    }
}

/// True where a template is nothing but text.
pub(super) fn is_literal(template: &Stmt<'_>) -> bool {
    let Stmt::Template(template) = template else { return false };
    template.children.iter().all(|child| matches!(child, Stmt::EmitRaw(_)))
}

/// The names an expression looks up at its root, functions apart.
pub(super) fn free_names(expr: &Expr<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect_names(expr, &mut names);
    names
}

fn collect_names(expr: &Expr<'_>, names: &mut BTreeSet<String>) {
    if let Expr::Var(var) = expr {
        if !FUNCTIONS.contains(&var.id) {
            names.insert(var.id.to_owned());
        }
        return;
    }
    children(expr).into_iter().for_each(|child| collect_names(child, names));
}

/// The expressions directly inside one.
pub(super) fn children<'t, 'a>(expr: &'t Expr<'a>) -> Vec<&'t Expr<'a>> {
    let arguments = |base: Option<&'t Expr<'a>>, args: &'t [CallArg<'a>]| {
        base.into_iter().chain(args.iter().map(argument)).collect()
    };
    match expr {
        Expr::Var(_) | Expr::Const(_) => Vec::new(),
        Expr::Slice(slice) => {
            let parts = [&slice.start, &slice.stop, &slice.step];
            let parts = parts.into_iter().filter_map(|part| part.as_ref());
            std::iter::once(&slice.expr).chain(parts).collect()
        }
        Expr::UnaryOp(unary) => vec![&unary.expr],
        Expr::BinOp(binary) => vec![&binary.left, &binary.right],
        Expr::Compare(chain) => {
            std::iter::once(&chain.expr).chain(chain.ops.iter().map(|op| &op.expr)).collect()
        }
        Expr::IfExpr(choice) => [&choice.test_expr, &choice.true_expr]
            .into_iter()
            .chain(choice.false_expr.as_ref())
            .collect(),
        Expr::Filter(filter) => arguments(filter.expr.as_ref(), &filter.args),
        Expr::Test(test) => arguments(Some(&test.expr), &test.args),
        Expr::GetAttr(attribute) => vec![&attribute.expr],
        Expr::GetItem(item) => vec![&item.expr, &item.subscript_expr],
        Expr::Call(call) => arguments(Some(&call.expr), &call.args),
        Expr::List(list) => list.items.iter().collect(),
        Expr::Tuple(tuple) => tuple.items.iter().collect(),
        Expr::Map(map) => map.keys.iter().chain(&map.values).collect(),
    }
}

/// The value of an argument.
pub(super) fn argument<'t, 'a>(argument: &'t CallArg<'a>) -> &'t Expr<'a> {
    match argument {
        CallArg::Pos(expr)
        | CallArg::Kwarg(_, expr)
        | CallArg::PosSplat(expr)
        | CallArg::KwargSplat(expr) => expr,
    }
}

/// The sign of a comparison.
pub(super) fn sign(op: CompareOpKind) -> &'static str {
    match op {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}

/// A short name for an expression: its path, or what it is.
pub(super) fn head(expr: &Expr<'_>) -> String {
    match expr {
        Expr::Var(var) => var.id.to_owned(),
        Expr::GetAttr(attribute) => format!("{}.{}", head(&attribute.expr), attribute.name),
        Expr::GetItem(item) => format!("{}[…]", head(&item.expr)),
        Expr::Filter(filter) => match &filter.expr {
            Some(base) => format!("{}|{}", head(base), filter.name),
            None => filter.name.to_owned(),
        },
        Expr::Const(constant) => constant.value.to_string(),
        _ => expr.description().to_owned(),
    }
}
