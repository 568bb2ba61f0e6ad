//! S3 over a real socket, with the faults of a bad day.

mod answers;
mod documents;
mod endpoint;
mod parts;
mod reads;
mod versions;
mod writes;
