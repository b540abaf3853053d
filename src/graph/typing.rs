//! What an expression comes to, as far as the schemas of its names can tell, and what is certainly wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{BinOp, BinOpKind, Call, Expr, Filter, UnaryOpKind};
use serde_json::Value;

use super::Channel;
use super::finding::suggest;
use super::shape::{Kinds, Member, Shape};
use super::syntax;
use super::words::{FILTERS, FUNCTIONS, TESTS};

/// One certain fault of an expression.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    /// The word it is about, to find its place.
    pub(super) word: String,
    pub(super) message: String,
    pub(super) hint: String,
}

/// The names an expression may use, and what they hold.
pub(super) struct Scope<'a> {
    pub(super) channels: &'a BTreeMap<String, Channel>,
    /// The channels that may be read here; `None`: all.
    pub(super) readable: Option<BTreeSet<&'a str>>,
    /// `context`, `visits`, `limits`, `error`, the element of a foreach.
    pub(super) others: Vec<(&'a str, &'a Value)>,
}

impl<'a> Scope<'a> {
    fn other(&self, name: &str) -> Option<&'a Value> {
        self.others.iter().find(|(other, _)| *other == name).map(|(_, schema)| *schema)
    }

    fn is_readable(&self, name: &str) -> bool {
        self.readable.as_ref().is_none_or(|readable| readable.contains(name))
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        let channels = self.channels.keys().map(String::as_str);
        channels.chain(self.others.iter().map(|(name, _)| *name))
    }
}

/// What is known of a value.
#[derive(Debug, Clone)]
pub(super) struct Ty<'a> {
    pub(super) kinds: Kinds,
    /// Schemas, one per alternative; empty: unknown.
    pub(super) shapes: Vec<Shape<'a>>,
}

impl<'a> Ty<'a> {
    pub(super) fn kind(kinds: Kinds) -> Self {
        Self { kinds, shapes: Vec::new() }
    }

    fn any() -> Self {
        Self::kind(Kinds::ANY)
    }

    fn of(shapes: Vec<Shape<'a>>) -> Self {
        let kinds = shapes.iter().fold(Kinds::NONE, |kinds, shape| kinds.or(shape.kinds()));
        if shapes.is_empty() { Self::any() } else { Self { kinds, shapes } }
    }
}

/// Walks expressions and gathers their faults.
pub(super) struct Typing<'s, 'a> {
    scope: &'s Scope<'a>,
    /// Names a template made itself, innermost last.
    pub(super) locals: Vec<(String, Ty<'a>)>,
    /// A condition: `and`, `or`, `not` and `if` take booleans.
    strict: bool,
    pub(super) faults: Vec<Fault>,
    /// Channels looked up so far.
    pub(super) used: BTreeSet<String>,
}

impl<'s, 'a> Typing<'s, 'a> {
    pub(super) fn new(scope: &'s Scope<'a>, strict: bool) -> Self {
        Self { scope, locals: Vec::new(), strict, faults: Vec::new(), used: BTreeSet::new() }
    }

    fn fault(&mut self, code: &'static str, word: &str, message: String, hint: String) {
        self.faults.push(Fault { code, word: word.to_owned(), message, hint });
    }

    /// Insists on a boolean.
    pub(super) fn boolean(&mut self, expr: &Expr<'_>) {
        let ty = self.expr(expr);
        if self.strict && !ty.kinds.meets(Kinds::BOOL) {
            let message = format!("expected a boolean, found {}", ty.kinds);
            let hint = "compare it: `x > 0`, `x is not none`, `x|length > 0`".to_owned();
            self.fault("PA050", &syntax::head(expr), message, hint);
        }
    }

    /// What `expr` comes to.
    pub(super) fn expr(&mut self, expr: &Expr<'_>) -> Ty<'a> {
        match expr {
            Expr::Var(var) => self.name(var.id),
            Expr::Const(constant) => match serde_json::to_value(&constant.value) {
                Ok(value) => Ty::kind(Kinds::of(&value)),
                Err(_) => Ty::any(),
            },
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => {
                    self.boolean(&unary.expr);
                    Ty::kind(Kinds::BOOL)
                }
                UnaryOpKind::Neg => {
                    self.number(&unary.expr, "-");
                    Ty::kind(Kinds::NUMBER)
                }
            },
            Expr::BinOp(binary) => self.binary(binary),
            Expr::Compare(chain) => {
                let mut left = &chain.expr;
                for link in &chain.ops {
                    self.comparison(syntax::sign(link.op), left, &link.expr);
                    left = &link.expr;
                }
                Ty::kind(Kinds::BOOL)
            }
            Expr::IfExpr(choice) => {
                self.boolean(&choice.test_expr);
                let first = self.expr(&choice.true_expr);
                let other = choice.false_expr.as_ref().map(|expr| self.expr(expr));
                Ty::kind(first.kinds.or(other.map_or(Kinds::ANY, |ty| ty.kinds)))
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => {
                self.expr(&test.expr);
                test.args.iter().for_each(|arg| drop(self.expr(syntax::argument(arg))));
                if !TESTS.contains(&test.name) {
                    let hint = suggest(test.name, TESTS);
                    self.fault("PA017", test.name, format!("unknown test `{}`", test.name), hint);
                }
                Ty::kind(Kinds::BOOL)
            }
            Expr::GetAttr(attribute) => {
                let base = self.expr(&attribute.expr);
                self.member(&base, attribute.name, &syntax::head(&attribute.expr))
            }
            Expr::GetItem(item) => {
                let base = self.expr(&item.expr);
                self.expr(&item.subscript_expr);
                match &item.subscript_expr {
                    Expr::Const(key) if key.value.as_str().is_some() => {
                        let key = key.value.as_str().unwrap_or_default();
                        self.member(&base, key, &syntax::head(&item.expr))
                    }
                    _ => element(&base),
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::Slice(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => {
                syntax::children(expr).into_iter().for_each(|child| drop(self.expr(child)));
                Ty::kind(if matches!(expr, Expr::Map(_)) { Kinds::OBJECT } else { Kinds::LIST })
            }
        }
    }

    fn name(&mut self, name: &str) -> Ty<'a> {
        if let Some((_, ty)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return ty.clone();
        }
        if let Some(schema) = self.scope.other(name) {
            return Ty::of(vec![Shape::new(schema)]);
        }
        if let Some(channel) = self.scope.channels.get(name) {
            self.used.insert(name.to_owned());
            if !self.scope.is_readable(name) {
                let message = format!("`{name}` is used here but not among the node's `reads`");
                self.fault("PA030", name, message, format!("add `{name}` to `reads`"));
            }
            return Ty::of(vec![Shape::new(&channel.schema)]);
        }
        if !FUNCTIONS.contains(&name) {
            let hint = suggest(name, self.scope.names());
            self.fault("PA016", name, format!("unknown name `{name}`"), hint);
        }
        Ty::any()
    }

    fn member(&mut self, base: &Ty<'a>, key: &str, of: &str) -> Ty<'a> {
        if !base.kinds.meets(Kinds::OBJECT) {
            let message = format!("`{of}` is {}: it has no `{key}`", base.kinds);
            self.fault("PA019", key, message, String::new());
            return Ty::any();
        }
        let (mut known, mut names) = (Vec::new(), Vec::new());
        for shape in &base.shapes {
            match shape.member(key) {
                Member::Known(shapes) => known.extend(shapes),
                Member::Open => return Ty::any(),
                Member::Missing(others) => names.extend(others),
            }
        }
        if known.is_empty() && !base.shapes.is_empty() {
            self.fault("PA019", key, format!("`{of}` has no `{key}`"), suggest(key, names));
        }
        Ty::of(known)
    }

    fn number(&mut self, expr: &Expr<'_>, sign: &str) {
        let ty = self.expr(expr);
        if !ty.kinds.meets(Kinds::NUMBER) {
            let message = format!("`{sign}` needs a number, found {}", ty.kinds);
            self.fault("PA050", &syntax::head(expr), message, String::new());
        }
    }

    fn binary(&mut self, binary: &BinOp<'_>) -> Ty<'a> {
        let (left, right) = (&binary.left, &binary.right);
        let compare = match binary.op {
            BinOpKind::Eq => Some("=="),
            BinOpKind::Ne => Some("!="),
            BinOpKind::Lt => Some("<"),
            BinOpKind::Lte => Some("<="),
            BinOpKind::Gt => Some(">"),
            BinOpKind::Gte => Some(">="),
            BinOpKind::In => Some("in"),
            _ => None,
        };
        if let Some(sign) = compare {
            self.comparison(sign, left, right);
            return Ty::kind(Kinds::BOOL);
        }
        match binary.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                self.boolean(left);
                self.boolean(right);
                Ty::kind(if self.strict { Kinds::BOOL } else { Kinds::ANY })
            }
            BinOpKind::Concat | BinOpKind::Add => {
                let (left, right) = (self.expr(left), self.expr(right));
                let both = left.kinds.and(right.kinds);
                match binary.op {
                    BinOpKind::Concat => Ty::kind(Kinds::TEXT),
                    _ if both == Kinds::NONE => {
                        let message = format!("`+` cannot add {} and {}", left.kinds, right.kinds);
                        self.fault("PA050", &syntax::head(&binary.left), message, String::new());
                        Ty::any()
                    }
                    _ => Ty::kind(both),
                }
            }
            _ => {
                self.number(left, "arithmetic");
                self.number(right, "arithmetic");
                Ty::kind(Kinds::NUMBER)
            }
        }
    }

    /// Both sides must be able to meet: the same kind, and a value that the other side can have.
    fn comparison(&mut self, sign: &'static str, left: &Expr<'_>, right: &Expr<'_>) {
        let (have, want) = (self.expr(left), self.expr(right));
        let possible = match sign {
            "in" | "not in" => want.kinds.meets(Kinds::TEXT.or(Kinds::LIST).or(Kinds::OBJECT)),
            "==" | "!=" => {
                have.kinds.meets(want.kinds)
                    || have.kinds.meets(Kinds::NULL)
                    || want.kinds.meets(Kinds::NULL)
            }
            _ => have.kinds.and(want.kinds).meets(Kinds::NUMBER.or(Kinds::TEXT)),
        };
        if !possible {
            let message = format!("`{sign}` cannot compare {} with {}", have.kinds, want.kinds);
            let hint = "both sides must be of one kind; `|length` counts a list".to_owned();
            self.fault("PA050", &syntax::head(left), message, hint);
            return;
        }
        if matches!(sign, "==" | "!=") {
            self.impossible_value(left, &have, right);
            self.impossible_value(right, &want, left);
        }
    }

    /// A constant compared with something that lists its values and does not list this one.
    fn impossible_value(&mut self, side: &Expr<'_>, ty: &Ty<'a>, constant: &Expr<'_>) {
        let Expr::Const(constant) = constant else { return };
        let (Ok(value), false) = (serde_json::to_value(&constant.value), ty.shapes.is_empty())
        else {
            return;
        };
        let all: Option<Vec<Vec<&Value>>> = ty.shapes.iter().map(|shape| shape.values()).collect();
        let Some(all) = all.map(|all| all.concat()) else { return };
        if value.is_null() || all.is_empty() || all.contains(&&value) {
            return;
        }
        let texts = all.iter().filter_map(|value| value.as_str());
        let hint = suggest(value.as_str().unwrap_or_default(), texts);
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.fault("PA051", &word, format!("`{}` is never {value}", syntax::head(side)), hint);
    }

    fn filter(&mut self, filter: &Filter<'_>) -> Ty<'a> {
        let base = filter.expr.as_ref().map_or_else(Ty::any, |expr| self.expr(expr));
        filter.args.iter().for_each(|arg| drop(self.expr(syntax::argument(arg))));
        if !FILTERS.contains(&filter.name) {
            let message = format!("unknown filter `{}`", filter.name);
            self.fault("PA017", filter.name, message, suggest(filter.name, FILTERS));
            return Ty::any();
        }
        match filter.name {
            "length" | "count" => {
                let counted = Kinds::LIST.or(Kinds::TEXT).or(Kinds::OBJECT);
                if !base.kinds.meets(counted) {
                    let message = format!("`{}` cannot count {}", filter.name, base.kinds);
                    self.fault("PA050", filter.name, message, String::new());
                }
                Ty::kind(Kinds::NUMBER)
            }
            "abs" | "round" | "int" | "float" | "sum" => Ty::kind(Kinds::NUMBER),
            "bool" => Ty::kind(Kinds::BOOL),
            "lower" | "upper" | "title" | "capitalize" | "trim" | "replace" | "join" | "string"
            | "tojson" | "indent" | "pprint" | "format" => Ty::kind(Kinds::TEXT),
            "first" | "last" | "min" | "max" => element(&base),
            "select" | "reject" | "selectattr" | "rejectattr" | "sort" | "unique" | "list" => {
                Ty { kinds: Kinds::LIST, shapes: base.shapes }
            }
            "map" | "split" | "lines" | "batch" | "slice" | "dictsort" | "items" | "groupby" => {
                Ty::kind(Kinds::LIST)
            }
            _ => Ty::any(),
        }
    }

    fn call(&mut self, call: &Call<'_>) -> Ty<'a> {
        call.args.iter().for_each(|arg| drop(self.expr(syntax::argument(arg))));
        let local = |name: &str| self.locals.iter().any(|(local, _)| local == name);
        match &call.expr {
            Expr::Var(var) if FUNCTIONS.contains(&var.id) || local(var.id) => {}
            Expr::Var(var) => {
                let message = format!("unknown function `{}`", var.id);
                self.fault("PA017", var.id, message, suggest(var.id, FUNCTIONS));
            }
            Expr::GetAttr(attribute) => match &attribute.expr {
                Expr::Var(var) if var.id == "loop" && local("loop") => {}
                base => {
                    let (base, name) = (syntax::head(base), attribute.name);
                    let hint = match FILTERS.contains(&name) {
                        true => format!("write it as a filter: `{base} | {name}`"),
                        false => "filters work on values: `x | length`".to_owned(),
                    };
                    let message = format!("`{base}` has no function `{name}`");
                    self.fault("PA017", name, message, hint);
                }
            },
            _ => {}
        }
        Ty::any()
    }
}

/// What an element of it is.
pub(super) fn element<'a>(list: &Ty<'a>) -> Ty<'a> {
    let all: Vec<Vec<Shape<'a>>> = list.shapes.iter().map(|shape| shape.elements()).collect();
    if all.iter().any(Vec::is_empty) { Ty::any() } else { Ty::of(all.concat()) }
}
