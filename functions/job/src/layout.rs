//! Where a run writes.

use crate::{
    name::{BucketName, FileName, QueryName, RunId},
    s3::{Prefix, S3Location},
};

/// The places of one run. Everything but the archive lies under `{output_prefix}{run_id}/`.
#[derive(Clone, Debug)]
pub struct RunLayout {
    bucket: BucketName,
    output_prefix: Prefix,
    zip_prefix: Prefix,
    run_id: RunId,
}

impl RunLayout {
    /// The places of the run `run_id`.
    pub fn new(
        bucket: BucketName,
        output_prefix: Prefix,
        zip_prefix: Prefix,
        run_id: RunId,
    ) -> Self {
        Self { bucket, output_prefix, zip_prefix, run_id }
    }

    /// The claim of the run: a [`crate::run_record::RunRecord`].
    pub fn run(&self) -> S3Location {
        self.at("run.json")
    }

    /// The pinned plan: an array of [`crate::states::PlannedQuery`].
    pub fn plan(&self) -> S3Location {
        self.at("plan.json")
    }

    /// The location that Athena is asked to write below, as a URI.
    pub fn athena_output(&self) -> String {
        self.at("athena/").to_string()
    }

    /// The record of one query: a [`crate::record::QueryRecord`].
    pub fn record(&self, query: &QueryName) -> S3Location {
        self.at(&format!("results/{}.json", query.file_stem()))
    }

    /// The CSV of one query.
    pub fn csv(&self, query: &QueryName) -> S3Location {
        self.at(&format!("csv/{}.csv", query.file_stem()))
    }

    /// The same as an archive of one entry.
    pub fn member(&self, query: &QueryName) -> S3Location {
        self.at(&format!("members/{}.zip", query.file_stem()))
    }

    /// The snapshot of the results: a [`crate::snapshot::Snapshot`].
    pub fn gathered(&self) -> S3Location {
        self.at("gathered.json")
    }

    /// The error of a state or a query.
    pub fn error(&self, of: &str) -> S3Location {
        self.at(&format!("errors/{}.json", of.replace('/', "-")))
    }

    /// The receipt of the run: a [`crate::record::Manifest`].
    pub fn manifest(&self) -> S3Location {
        self.at("manifest.json")
    }

    /// The journal of a delivery: a [`crate::delivery::Journal`].
    pub fn delivery(&self, destination: &str, number: u32) -> S3Location {
        self.at(&format!("deliveries/{destination}/{number}.json"))
    }

    /// The archive.
    pub fn archive(&self) -> S3Location {
        S3Location::new(self.bucket.as_str(), self.zip_prefix.key(&format!("{}.zip", self.run_id)))
    }

    fn at(&self, name: &str) -> S3Location {
        S3Location::new(
            self.bucket.as_str(),
            self.output_prefix.key(&format!("{}/{name}", self.run_id)),
        )
    }
}

/// The name of the archive that a recipient gets unless the job says another.
pub fn default_archive_name(run_id: &RunId) -> FileName {
    format!("{run_id}.zip").parse().expect("a run id with an extension is a file name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_run_lies_under_its_id() {
        let layout = RunLayout::new(
            "acme-results".parse().unwrap(),
            Prefix::from("out".to_owned()),
            Prefix::from(String::new()),
            "r1".parse().unwrap(),
        );
        let query = "daily/users".parse().unwrap();
        let places = [
            layout.run(),
            layout.plan(),
            layout.record(&query),
            layout.csv(&query),
            layout.member(&query),
            layout.gathered(),
            layout.error("LoadQueries"),
            layout.manifest(),
            layout.delivery("1", 1),
            layout.archive(),
        ]
        .map(|location| location.to_string());
        assert_eq!(
            places,
            [
                "s3://acme-results/out/r1/run.json",
                "s3://acme-results/out/r1/plan.json",
                "s3://acme-results/out/r1/results/daily-users.json",
                "s3://acme-results/out/r1/csv/daily-users.csv",
                "s3://acme-results/out/r1/members/daily-users.zip",
                "s3://acme-results/out/r1/gathered.json",
                "s3://acme-results/out/r1/errors/LoadQueries.json",
                "s3://acme-results/out/r1/manifest.json",
                "s3://acme-results/out/r1/deliveries/1/1.json",
                "s3://acme-results/r1.zip",
            ]
        );
        assert_eq!(layout.athena_output(), "s3://acme-results/out/r1/athena/");
    }
}
