//! Calls of functions: which are known, and which stand for something else.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Spanned, Value,
    helpers::attached_token::AttachedToken,
};

use crate::failure::{Failure, Kind, Position};
use crate::functions::is_known;
use crate::sql::position;

/// Trino's name for a function, and DataFusion's where it is the same function.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("every", "bool_and"),
    ("arbitrary", "any_value"),
    ("variance", "var"),
    ("array_join", "array_to_string"),
    ("rand", "random"),
];
/// Functions whose results DataFusion gives as unsigned numbers.
const UNSIGNED: [&str; 5] = ["row_number", "rank", "dense_rank", "ntile", "approx_distinct"];

/// A call of a function with plain arguments.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// What stands for a call, if not itself.
pub(super) fn rewrite(function: &Function) -> Result<Option<Expr>, Failure> {
    let at = position(function.span().start).unwrap_or(Position { line: 1, column: 1 });
    let name = function.name.to_string().replace('"', "").to_lowercase();
    if !function.within_group.is_empty() {
        let message = format!("{name} with WITHIN GROUP is not supported");
        return Err(Failure::at(Kind::NotSupported, at, message));
    }
    let args = plain_arguments(function);
    let wrong = || {
        let message = format!("Unexpected parameters for function {name}");
        Failure::at(Kind::FunctionNotFound, at, message)
    };
    match (name.as_str(), args) {
        ("concat", Some(args)) if args.len() > 1 => Ok(Some(concatenated(args))),
        ("if", Some(args)) => conditional(args).map(Some).ok_or_else(wrong),
        ("greatest" | "least", Some(args)) if !args.is_empty() => {
            Ok(Some(null_if_any(args, Expr::Function(function.clone()))))
        }
        ("count_if", Some(args)) => {
            let [condition] = <[Expr; 1]>::try_from(args).map_err(|_| wrong())?;
            Ok(Some(count_if(function, condition)))
        }
        ("date", Some(args)) => {
            let [value] = <[Expr; 1]>::try_from(args).map_err(|_| wrong())?;
            Ok(Some(cast(value, DataType::Date)))
        }
        ("concat" | "if" | "count_if" | "date", _) => Err(wrong()),
        ("try", _) => Err(Failure::at(Kind::NotSupported, at, "try is not supported; try_cast is")),
        (name, _) if UNSIGNED.contains(&name) => {
            Ok(Some(cast(Expr::Function(function.clone()), DataType::BigInt(None))))
        }
        ("current_timestamp", _) => Ok(Some(call("now", Vec::new()))),
        (name, _) => renamed(function, name, at),
    }
}

fn renamed(function: &Function, name: &str, at: Position) -> Result<Option<Expr>, Failure> {
    if let Some((_, other)) = OTHER_NAMES.iter().find(|(known, _)| *known == name) {
        let name = ObjectName::from(vec![Ident::new(*other)]);
        return Ok(Some(Expr::Function(Function { name, ..function.clone() })));
    }
    if is_known(name) || name.starts_with('$') {
        return Ok(None);
    }
    let message = format!("Function '{name}' not registered");
    Err(Failure::at(Kind::FunctionNotFound, at, message))
}

/// The arguments of a call that has nothing but arguments.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let plain = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    plain.collect()
}

/// `||`, which gives NULL where DataFusion's `concat` passes over it.
fn concatenated(args: Vec<Expr>) -> Expr {
    let joined = args.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::StringConcat,
        right: Box::new(right),
    });
    Expr::Nested(Box::new(joined.unwrap_or_else(null)))
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

fn case(condition: Expr, result: Expr, otherwise: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: otherwise.map(Box::new),
    }
}

fn conditional(args: Vec<Expr>) -> Option<Expr> {
    let mut args = args.into_iter();
    let (condition, result) = (args.next()?, args.next()?);
    let otherwise = args.next();
    args.next().is_none().then(|| case(condition, result, otherwise))
}

/// NULL if any argument is, which DataFusion passes over.
fn null_if_any(args: Vec<Expr>, value: Expr) -> Expr {
    let is_null = |expr| Expr::IsNull(Box::new(expr));
    let any = args.into_iter().map(is_null).reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Or,
        right: Box::new(right),
    });
    case(any.unwrap_or_else(null), null(), Some(value))
}

fn count_if(function: &Function, condition: Expr) -> Expr {
    let one = Expr::value(Value::Number("1".into(), false));
    let mut counted = function.clone();
    counted.name = ObjectName::from(vec![Ident::new("count")]);
    if let FunctionArguments::List(list) = &mut counted.args {
        let argument = FunctionArgExpr::Expr(case(condition, one, None));
        list.args = vec![FunctionArg::Unnamed(argument)];
    }
    Expr::Function(counted)
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
