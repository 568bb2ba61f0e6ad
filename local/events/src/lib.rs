//! EventBridge on a laptop: event patterns, input transformers and a bus with rules and targets.
//!
//! [`Pattern`] and [`Transformer`] are pure. [`Bus`] takes events and hands them to targets in the
//! background. The targets themselves are the caller's business: it implements [`Targets`].
//!
//! ```
//! use local_events::Pattern;
//! use serde_json::json;
//!
//! let ended = Pattern::parse(r#"{"detail": {"currentState": ["FAILED", {"prefix": "CANC"}]}}"#)?;
//! assert!(ended.matches(&json!({ "detail": { "currentState": "CANCELLED" } })));
//! assert!(!ended.matches(&json!({ "detail": { "currentState": "RUNNING" } })));
//! # Ok::<(), local_events::PatternError>(())
//! ```
//!
//! # What differs from AWS
//!
//! * There is one bus, without an API: services put events by [`Bus::put`].
//! * Dead letters are kept in memory and read by [`Bus::dead_letters`].
//! * Delivery is as good as it can be. [`EventFaults`] makes events late, doubled or lost, which
//!   they may be on AWS at any time.
//! * Retries wait without jitter.
//! * Patterns with many wildcards are not refused as too complex.

mod bus;
mod faults;
mod pattern;
mod transformer;

pub use bus::{
    Bus, BusConfig, DeadLetter, Delivery, DeliveryError, RetryPolicy, Rule, RuleUsage, Target,
    Targets,
};
pub use faults::{Arrival, EventFaults, Fault};
pub use pattern::{Pattern, PatternError};
pub use transformer::{MatchedRule, Transformer, TransformerError};
