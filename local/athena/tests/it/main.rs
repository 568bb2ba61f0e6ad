//! The endpoint as a client sees it: through AWS's own SDK, over HTTP.

mod access;
mod endpoint;
mod faults;
mod protocol;
mod results;
mod sql;
mod state_changes;
mod tpch;
