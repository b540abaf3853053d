//! Walks a template for its faults and its names, with the names it makes itself in scope.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{Expr, Stmt};

use super::expression::Expression;
use super::shape::Kinds;
use super::syntax;
use super::typing::{Fault, Scope, Ty, Typing, element};

/// What a template is, as far as the loader asks.
pub(super) struct Scanned<'a> {
    /// The value of a lone `{{ expression }}`; a text otherwise.
    pub(super) ty: Ty<'a>,
    /// Nothing in it to fill.
    pub(super) literal: bool,
    pub(super) faults: Vec<Fault>,
    /// Channels it looks up.
    pub(super) used: BTreeSet<String>,
}

/// Checks a template against the names it may use. Errors: what does not parse.
pub(super) fn template<'a>(text: &str, scope: &Scope<'a>) -> Result<Scanned<'a>, String> {
    let tree = syntax::template(text)?;
    let mut typing = Typing::new(scope, false);
    let literal = syntax::is_literal(&tree);
    let ty = match syntax::single(&tree) {
        Some(expr) => typing.expr(expr),
        None => {
            statement(&tree, &mut typing);
            Ty::kind(Kinds::TEXT)
        }
    };
    Ok(Scanned { ty, literal, faults: typing.faults, used: typing.used })
}

/// Checks a condition against the names it may use. Errors: what does not parse.
pub(super) fn condition(text: &str, scope: &Scope<'_>) -> Result<Vec<Fault>, String> {
    Expression::compile(text)?;
    let tree = syntax::expression(text)?;
    let mut typing = Typing::new(scope, true);
    typing.boolean(&tree);
    Ok(typing.faults)
}

fn body<'a>(children: &[Stmt<'_>], typing: &mut Typing<'_, 'a>) {
    let outer = typing.locals.len();
    children.iter().for_each(|child| statement(child, typing));
    typing.locals.truncate(outer);
}

fn statement<'a>(stmt: &Stmt<'_>, typing: &mut Typing<'_, 'a>) {
    match stmt {
        Stmt::Template(template) => body(&template.children, typing),
        Stmt::EmitExpr(emit) => drop(typing.expr(&emit.expr)),
        Stmt::EmitRaw(_) => {}
        Stmt::ForLoop(each) => {
            let list = typing.expr(&each.iter);
            let outer = typing.locals.len();
            assign(&each.target, element(&list), typing);
            typing.locals.push(("loop".to_owned(), Ty::kind(Kinds::ANY)));
            if let Some(filter) = &each.filter_expr {
                typing.expr(filter);
            }
            body(&each.body, typing);
            typing.locals.truncate(outer);
            body(&each.else_body, typing);
        }
        Stmt::IfCond(choice) => {
            typing.boolean(&choice.expr);
            // A name set in a branch is there after it, so the branches share the scope around them.
            choice.true_body.iter().for_each(|child| statement(child, typing));
            choice.false_body.iter().for_each(|child| statement(child, typing));
        }
        Stmt::WithBlock(with) => {
            let outer = typing.locals.len();
            for (target, value) in &with.assignments {
                let ty = typing.expr(value);
                assign(target, ty, typing);
            }
            body(&with.body, typing);
            typing.locals.truncate(outer);
        }
        Stmt::Set(set) => {
            let ty = typing.expr(&set.expr);
            assign(&set.target, ty, typing);
        }
        Stmt::SetBlock(set) => {
            if let Some(filter) = &set.filter {
                typing.expr(filter);
            }
            body(&set.body, typing);
            assign(&set.target, Ty::kind(Kinds::TEXT), typing);
        }
        Stmt::AutoEscape(escape) => body(&escape.body, typing),
        Stmt::FilterBlock(filter) => {
            typing.expr(&filter.filter);
            body(&filter.body, typing);
        }
        Stmt::Do(call) => {
            call.call.args.iter().for_each(|arg| drop(typing.expr(syntax::argument(arg))));
        }
    }
}

fn assign<'a>(target: &Expr<'_>, ty: Ty<'a>, typing: &mut Typing<'_, 'a>) {
    match target {
        Expr::Var(var) => typing.locals.push((var.id.to_owned(), ty)),
        Expr::List(list) => {
            list.items.iter().for_each(|item| assign(item, Ty::kind(Kinds::ANY), typing));
        }
        Expr::Tuple(tuple) => {
            tuple.items.iter().for_each(|item| assign(item, Ty::kind(Kinds::ANY), typing));
        }
        // `{% set space.name = … %}` makes no name.
        _ => {}
    }
}
