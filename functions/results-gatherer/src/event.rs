//! The end of a query, as an event of Athena tells it.

use aws_io::step_functions::Answered;
use job::{ErrorName, record::QueryState};
use tracing::info;

use crate::{GatherError, Services};

/// Completes the callback that waits for the query.
///
/// An unknown query is nothing unusual: it is somebody else's in the same work group, or its event
/// was faster than the callback, whose keeper then looks at the query itself. Events come late,
/// twice and in any order: a callback that waits no more is left alone.
pub(crate) async fn query_ended(
    services: &Services,
    query_execution_id: &str,
    state: QueryState,
) -> Result<(), GatherError> {
    let Some(wait) = services.waits.find(query_execution_id).await? else { return Ok(()) };
    let answered = match state {
        QueryState::Queued | QueryState::Running => return Ok(()),
        QueryState::Succeeded => services.step_functions.succeed(&wait.token).await?,
        // RunQuery looks at the query and decides: only it may start another attempt.
        QueryState::Failed | QueryState::Cancelled => {
            let cause = format!("the query `{}` did not succeed in Athena", wait.query);
            services.step_functions.fail(&wait.token, ErrorName::QueryEnded, &cause).await?
        }
    };
    info!(
        run.id = %wait.run_id, query.name = %wait.query, query.execution_id = query_execution_id,
        in_time = answered == Answered::InTime, "the query has ended"
    );
    Ok(())
}
