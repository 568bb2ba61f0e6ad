//! The functions that queries may call: Athena's, by Athena's names.
//!
//! What DataFusion has is only let through where it gives the same answers; every other name is
//! not known, as on Athena.

mod aggregate;
mod array;
mod encode;
mod moment;
mod number;
mod text;
mod typed;
mod value;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use typed::TypedRewrite;

/// DataFusion's scalar functions that do what Trino's of the same name do.
const SCALARS: [&str; 12] = [
    "coalesce",
    "nullif",
    "random",
    "now",
    "current_date",
    "translate",
    "concat_ws",
    "greatest",
    "least",
    "array_distinct",
    "array_to_string",
    "make_array",
];

/// DataFusion's aggregates that do what Trino's of the same name do.
const AGGREGATES: [&str; 18] = [
    "count",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "array_agg",
    "any_value",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
    "corr",
    "covar_samp",
    "covar_pop",
    "regr_slope",
    "regr_intercept",
    "approx_distinct",
    "grouping",
];

/// DataFusion's window functions that do what Trino's of the same name do.
const WINDOWS: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

struct Pack {
    scalars: Vec<Arc<ScalarUDF>>,
    aggregates: Vec<Arc<AggregateUDF>>,
    windows: Vec<Arc<WindowUDF>>,
    /// Every name that a query may call.
    names: HashSet<String>,
}

static PACK: LazyLock<Pack> = LazyLock::new(Pack::new);

impl Pack {
    fn new() -> Self {
        let own =
            [text::functions(), number::functions(), moment::functions(), encode::functions()];
        let own = own.into_iter().flatten().map(|function| Arc::new(ScalarUDF::from(function)));
        let mut scalars: Vec<Arc<ScalarUDF>> = SessionStateDefaults::default_scalar_functions();
        scalars.retain(|function| SCALARS.contains(&function.name()));
        scalars.extend(own);
        scalars.extend(array::functions());
        let mut aggregates = SessionStateDefaults::default_aggregate_functions();
        let find = |name: &str| aggregates.iter().find(|found| found.name() == name).cloned();
        let exact = find("sum").zip(find("avg"));
        aggregates.retain(|function| AGGREGATES.contains(&function.name()));
        aggregates.extend(exact.into_iter().flat_map(|(sum, avg)| aggregate::functions(sum, avg)));
        let mut windows = SessionStateDefaults::default_window_functions();
        windows.retain(|function| WINDOWS.contains(&function.name()));
        let mut names = HashSet::new();
        names.extend(scalars.iter().map(|function| function.name().to_owned()));
        names.extend(aggregates.iter().map(|function| function.name().to_owned()));
        names.extend(aggregates.iter().flat_map(|function| function.aliases().to_vec()));
        names.extend(windows.iter().map(|function| function.name().to_owned()));
        names.retain(|name| !name.starts_with('$') && name != "make_array");
        Self { scalars, aggregates, windows, names }
    }
}

/// Whether a query may call a function of that name.
pub(crate) fn is_known(name: &str) -> bool {
    PACK.names.contains(name)
}

/// Adds the functions to a session.
pub(crate) fn register(builder: SessionStateBuilder) -> Result<SessionState> {
    let mut state = builder
        .with_scalar_functions(PACK.scalars.clone())
        .with_aggregate_functions(PACK.aggregates.clone())
        .with_window_functions(PACK.windows.clone())
        .build();
    let rewrite = TypedRewrite {
        text: state.udf("$text")?,
        half_up: state.udf("$half_up")?,
        whole: state.udf("round")?,
    };
    state.register_function_rewrite(Arc::new(rewrite))?;
    Ok(state)
}
