//! `WriteResult`: from the end of the query in Athena to its CSV.

use aws_io::run_files::QueryFile;
use job::record::{QueryEvent, QueryStage};
use tracing::info;

use crate::{Call, ExecuteError, result};

impl Call<'_> {
    /// Writes the CSV, unless it is there.
    pub(crate) async fn write_result(&self, file: &mut QueryFile<'_>) -> Result<(), ExecuteError> {
        let Self { services, run, query, .. } = self;
        loop {
            match &file.record().stage {
                QueryStage::Running { query_execution_id } => {
                    let status = services.athena.look(query_execution_id).await;
                    let status = status.map_err(|source| self.athena_failed(source))?;
                    let event = self.ended(&status).ok_or_else(|| self.not_ended())?;
                    self.advance(file, event).await?;
                }
                QueryStage::Ended { output_location, .. } => {
                    self.expect_live().await?;
                    let written =
                        result::write(&services.storage, run, query, output_location).await?;
                    info!(
                        run.id = %run.run_id, query.name = %query.name, rows = written.csv.rows,
                        size_bytes = written.csv.size_bytes, "wrote the CSV of the query"
                    );
                    let result::Written { csv, member } = written;
                    let (csv, member) = (Box::new(csv), member.map(Box::new));
                    self.advance(file, QueryEvent::Written { csv, member }).await?;
                }
                QueryStage::Written { .. } => return Ok(()),
                QueryStage::Queued | QueryStage::Starting { .. } => return Err(self.not_ended()),
                QueryStage::Failed { failure, .. } | QueryStage::Cancelled { failure, .. } => {
                    return Err(ExecuteError::Recorded { failure: failure.clone() });
                }
            }
        }
    }

    fn not_ended(&self) -> ExecuteError {
        ExecuteError::NotEnded { query: self.query.name.clone() }
    }
}
