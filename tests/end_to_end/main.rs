//! The whole workflow over the stack on a laptop, with the real binaries.

mod arrows;
mod bad_input;
mod command;
mod tpch;
mod twice;
