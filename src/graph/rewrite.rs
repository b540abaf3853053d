//! Writes an expression anew, with the guards that `expression` describes or as it was.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, UnaryOpKind};

use super::expression::{BOOLEAN, COMPARE};
use super::syntax;

/// The text of `expr` with its guards in place. Errors: an expression that cannot stand alone.
pub(super) fn guarded(expr: &Expr<'_>) -> Result<String, String> {
    rewritten(expr, true)
}

/// The text of `expr` as it was. Errors: as [`guarded`].
pub(super) fn plain(expr: &Expr<'_>) -> Result<String, String> {
    rewritten(expr, false)
}

fn rewritten(expr: &Expr<'_>, guards: bool) -> Result<String, String> {
    let mut out = Out { text: String::new(), guards };
    write(expr, &mut out)?;
    Ok(out.text)
}

struct Out {
    text: String,
    guards: bool,
}

impl Out {
    fn push(&mut self, sign: char) {
        self.text.push(sign);
    }

    fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

type Written = Result<(), String>;

fn write(expr: &Expr<'_>, out: &mut Out) -> Written {
    match expr {
        Expr::Var(var) => out.push_str(var.id),
        Expr::Const(constant) => out.push_str(&literal(&constant.value)?),
        Expr::UnaryOp(unary) => match unary.op {
            UnaryOpKind::Not => {
                out.push_str("(not ");
                write_boolean(&unary.expr, out)?;
                out.push(')');
            }
            UnaryOpKind::Neg => {
                out.push_str("(-");
                write(&unary.expr, out)?;
                out.push(')');
            }
        },
        Expr::BinOp(binary) => write_binary(binary.op, &binary.left, &binary.right, out)?,
        Expr::Compare(chain) => {
            out.push('(');
            let mut left = &chain.expr;
            for (position, link) in chain.ops.iter().enumerate() {
                if position > 0 {
                    out.push_str(" and ");
                }
                write_comparison(syntax::sign(link.op), left, &link.expr, out)?;
                left = &link.expr;
            }
            out.push(')');
        }
        Expr::IfExpr(choice) => {
            out.push('(');
            write(&choice.true_expr, out)?;
            out.push_str(" if ");
            write_boolean(&choice.test_expr, out)?;
            if let Some(other) = &choice.false_expr {
                out.push_str(" else ");
                write(other, out)?;
            }
            out.push(')');
        }
        Expr::Filter(filter) => {
            let Some(base) = &filter.expr else {
                return Err("a filter without a value".to_owned());
            };
            out.push('(');
            write(base, out)?;
            out.push('|');
            out.push_str(filter.name);
            write_arguments(&filter.args, out)?;
            out.push(')');
        }
        Expr::Test(test) => {
            out.push('(');
            write(&test.expr, out)?;
            out.push_str(" is ");
            out.push_str(test.name);
            write_arguments(&test.args, out)?;
            out.push(')');
        }
        _ => return write_access(expr, out),
    }
    Ok(())
}

fn write_access(expr: &Expr<'_>, out: &mut Out) -> Written {
    match expr {
        Expr::GetAttr(attribute) => {
            write(&attribute.expr, out)?;
            out.push('.');
            out.push_str(attribute.name);
        }
        Expr::GetItem(item) => {
            write(&item.expr, out)?;
            out.push('[');
            write(&item.subscript_expr, out)?;
            out.push(']');
        }
        Expr::Slice(slice) => {
            write(&slice.expr, out)?;
            out.push('[');
            for (position, part) in [&slice.start, &slice.stop, &slice.step].iter().enumerate() {
                if position > 0 {
                    out.push(':');
                }
                part.as_ref().map_or(Ok(()), |part| write(part, out))?;
            }
            out.push(']');
        }
        Expr::Call(call) => {
            write(&call.expr, out)?;
            if call.args.is_empty() {
                out.push_str("()");
            }
            write_arguments(&call.args, out)?;
        }
        Expr::List(list) => write_items('[', &list.items, ']', out)?,
        Expr::Tuple(tuple) => write_items('[', &tuple.items, ']', out)?,
        Expr::Map(map) => {
            out.push('{');
            for (key, value) in map.keys.iter().zip(&map.values) {
                write(key, out)?;
                out.push_str(": ");
                write(value, out)?;
                out.push_str(", ");
            }
            out.push('}');
        }
        // The rest is written by the caller.
        _ => return Err(format!("a {} cannot stand here", expr.description())),
    }
    Ok(())
}

fn write_binary(op: BinOpKind, left: &Expr<'_>, right: &Expr<'_>, out: &mut Out) -> Written {
    let (symbol, boolean) = match op {
        BinOpKind::Eq => return write_comparison("==", left, right, out),
        BinOpKind::Ne => return write_comparison("!=", left, right, out),
        BinOpKind::Lt => return write_comparison("<", left, right, out),
        BinOpKind::Lte => return write_comparison("<=", left, right, out),
        BinOpKind::Gt => return write_comparison(">", left, right, out),
        BinOpKind::Gte => return write_comparison(">=", left, right, out),
        BinOpKind::In => return write_comparison("in", left, right, out),
        BinOpKind::ScAnd => (" and ", true),
        BinOpKind::ScOr => (" or ", true),
        BinOpKind::Add => (" + ", false),
        BinOpKind::Sub => (" - ", false),
        BinOpKind::Mul => (" * ", false),
        BinOpKind::Div => (" / ", false),
        BinOpKind::FloorDiv => (" // ", false),
        BinOpKind::Rem => (" % ", false),
        BinOpKind::Pow => (" ** ", false),
        BinOpKind::Concat => (" ~ ", false),
    };
    let operand = if boolean { write_boolean } else { write };
    out.push('(');
    operand(left, out)?;
    out.push_str(symbol);
    operand(right, out)?;
    out.push(')');
    Ok(())
}

fn write_comparison(symbol: &str, left: &Expr<'_>, right: &Expr<'_>, out: &mut Out) -> Written {
    out.push('(');
    write(left, out)?;
    if out.guards {
        out.push_str(&format!("|{COMPARE}('{symbol}', "));
        write(right, out)?;
        out.push(')');
    } else {
        out.push_str(&format!(" {symbol} "));
        write(right, out)?;
    }
    out.push(')');
    Ok(())
}

fn write_boolean(expr: &Expr<'_>, out: &mut Out) -> Written {
    if !out.guards {
        return write(expr, out);
    }
    out.push('(');
    write(expr, out)?;
    out.push_str(&format!("|{BOOLEAN})"));
    Ok(())
}

fn write_items(open: char, items: &[Expr<'_>], close: char, out: &mut Out) -> Written {
    out.push(open);
    for item in items {
        write(item, out)?;
        out.push_str(", ");
    }
    out.push(close);
    Ok(())
}

fn write_arguments(arguments: &[CallArg<'_>], out: &mut Out) -> Written {
    if arguments.is_empty() {
        return Ok(());
    }
    out.push('(');
    for argument in arguments {
        let (prefix, value) = match argument {
            CallArg::Pos(value) => (String::new(), value),
            CallArg::Kwarg(name, value) => (format!("{name}="), value),
            CallArg::PosSplat(value) => ("*".to_owned(), value),
            CallArg::KwargSplat(value) => ("**".to_owned(), value),
        };
        out.push_str(&prefix);
        write(value, out)?;
        out.push_str(", ");
    }
    out.push(')');
    Ok(())
}

fn literal(value: &minijinja::Value) -> Result<String, String> {
    if value.is_none() {
        return Ok("none".to_owned());
    }
    if let Some(text) = value.as_str() {
        return serde_json::to_string(text).map_err(|error| error.to_string());
    }
    Ok(value.to_string())
}
