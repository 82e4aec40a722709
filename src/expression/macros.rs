//! The calls that are loops: `list.all(x, …)` and the like.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, IdedExpr};

use super::CompileError;
use super::compile::Compiler;
use crate::engine::expression::{Comprehension, Expression, Fold, Kind};
use crate::engine::limits;

/// How a loop is written: its name, its number of arguments, what it makes, how many of the arguments are variables and
/// whether a filter follows them.
const FORMS: [(&str, usize, Fold, usize, bool); 15] = [
    ("all", 2, Fold::All, 1, false),
    ("all", 3, Fold::All, 2, false),
    ("exists", 2, Fold::Exists, 1, false),
    ("exists", 3, Fold::Exists, 2, false),
    ("exists_one", 2, Fold::ExistsOne, 1, false),
    ("exists_one", 3, Fold::ExistsOne, 2, false),
    ("existsOne", 2, Fold::ExistsOne, 1, false),
    ("existsOne", 3, Fold::ExistsOne, 2, false),
    ("filter", 2, Fold::Filter, 1, false),
    ("map", 2, Fold::List, 1, false),
    ("map", 3, Fold::List, 1, true),
    ("transformList", 3, Fold::List, 2, false),
    ("transformList", 4, Fold::List, 2, true),
    ("transformMap", 3, Fold::Map, 2, false),
    ("transformMap", 4, Fold::Map, 2, true),
];

impl<'a> Compiler<'a> {
    /// The loop that a method call is, if it is one.
    pub(super) fn comprehension(
        &mut self,
        call: &'a CallExpr,
        target: &'a IdedExpr,
        at: usize,
    ) -> Result<Option<Expression>, CompileError> {
        let form = FORMS.iter().find(|(name, count, ..)| *name == call.func_name && *count == call.args.len());
        let Some(&(_, _, fold, variables, filtered)) = form else { return Ok(None) };
        if self.comprehensions == limits::COMPREHENSION_DEPTH {
            let message = format!("loops nest deeper than {} levels", limits::COMPREHENSION_DEPTH);
            let error = CompileError::new(at.saturating_sub(call.func_name.len()), message);
            return Err(error.help("compute the inner one in a transform step that comes before"));
        }
        let range = self.expression(target)?;
        let depth = self.locals.len();
        for variable in &call.args[..variables] {
            let name = self.variable(variable)?;
            self.locals.push(name);
        }
        self.comprehensions += 1;
        let filter = if filtered { self.expression(&call.args[variables]).map(Some) } else { Ok(None) };
        let body = call.args.last().map(|body| self.expression(body));
        self.comprehensions -= 1;
        self.locals.truncate(depth);
        let (filter, Some(body)) = (filter?, body.transpose()?) else { return Ok(None) };
        let comprehension = Comprehension { fold, range, two_variables: variables == 2, filter, body };
        Ok(Some(Expression { at: at as u32, kind: Kind::Comprehension(Box::new(comprehension)) }))
    }

    fn variable(&self, part: &IdedExpr) -> Result<Arc<str>, CompileError> {
        match &part.expr {
            Expr::Ident(name) if !name.starts_with('.') => Ok(name.as_str().into()),
            _ => {
                let error = CompileError::new(self.parsed.offset(part), "a loop names its variable first");
                Err(error.help("like items.exists(item, item.price > 10)"))
            }
        }
    }
}
