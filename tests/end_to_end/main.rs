//! The whole workflow over the stack on a laptop, with the real binaries.

mod archives;
mod arrows;
mod bad_input;
mod chaos;
mod command;
mod delivering;
mod events;
mod faults;
mod half_hours;
mod interleavings;
mod many;
mod memory;
mod rights;
mod running;
mod schedules;
mod secrets;
mod tpch;
mod twice;
mod wiring;
